import Foundation
import HTTPTypes
import Hummingbird
import Model
import NIOCore

/// JSON in and out, the same for every route of this service.
enum JSONBody {
    /// Deepest nesting of a request body; no request of ours needs more than four.
    static let depthLimit = 16

    /// Reads the body of at most `limit` bytes as `Value`.
    /// - Throws: ``Problem``: 413 for too large a body, 415 for another media type, 400 for anything that is no such JSON.
    static func read<Value: Decodable>(
        _ type: Value.Type, _ request: Request, limit: Int
    ) async throws -> Value {
        if let media = request.headers[.contentType], !media.lowercased().hasPrefix("application/json") {
            throw Problem(.unsupportedMediaType, detail: "send application/json")
        }
        let buffer: ByteBuffer
        do {
            buffer = try await request.body.collect(upTo: limit)
        } catch let error as HTTPError where error.status == .contentTooLarge {
            throw Problem(.bodyTooLarge, detail: "the body may have \(limit) bytes")
        } catch is NIOTooManyBytesError {
            throw Problem(.bodyTooLarge, detail: "the body may have \(limit) bytes")
        }
        guard Self.depth(buffer.readableBytesView) <= Self.depthLimit else {
            throw Problem(.malformedBody, detail: "the JSON is nested deeper than \(Self.depthLimit) levels")
        }
        do {
            return try JSONDecoder().decode(Value.self, from: Data(buffer.readableBytesView))
        } catch let error as ValidationError {
            throw Problem(error)
        } catch let error as DecodingError {
            throw Problem(.malformedBody, detail: Self.explain(error))
        }
    }

    static func write(_ value: some Encodable, status: HTTPResponse.Status = .ok) throws -> Response {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let data = try encoder.encode(value)
        return Response(
            status: status, headers: [.contentType: "application/json; charset=utf-8"],
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: data)))
    }

    /// Deepest bracket nesting outside of strings.
    static func depth(_ bytes: some Sequence<UInt8>) -> Int {
        var depth = 0
        var deepest = 0
        var inString = false
        var isEscaped = false
        for byte in bytes {
            if inString {
                if isEscaped {
                    isEscaped = false
                } else if byte == UInt8(ascii: "\\") {
                    isEscaped = true
                } else if byte == UInt8(ascii: "\"") {
                    inString = false
                }
                continue
            }
            switch byte {
            case UInt8(ascii: "\""): inString = true
            case UInt8(ascii: "{"), UInt8(ascii: "["):
                depth += 1
                deepest = max(deepest, depth)
            case UInt8(ascii: "}"), UInt8(ascii: "]"): depth -= 1
            default: continue
            }
        }
        return deepest
    }

    /// Names the place, never the content.
    static func explain(_ error: DecodingError) -> String {
        func place(_ context: DecodingError.Context, _ last: (any CodingKey)? = nil) -> String {
            let path = (context.codingPath + [last].compactMap { $0 }).map {
                $0.intValue.map(String.init) ?? $0.stringValue
            }
            return path.isEmpty ? "the body" : String(path.joined(separator: ".").prefix(128))
        }
        switch error {
        case .keyNotFound(let key, let context): return "\(place(context, key)) is missing"
        case .valueNotFound(_, let context): return "\(place(context)) must not be null"
        case .typeMismatch(let type, let context): return "\(place(context)) is not of type \(type)"
        case .dataCorrupted(let context):
            return context.codingPath.isEmpty
                ? "the body is not JSON" : "\(place(context)): \(context.debugDescription.prefix(128))"
        @unknown default: return "the body is not the JSON that is expected here"
        }
    }
}
