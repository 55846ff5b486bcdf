import Foundation
import HTTPTypes
import Hummingbird
import Model
import NIOCore

extension Request {
    /// The whole body, at most `limit` bytes as they came, and at most `limit` bytes after gzip (`Content-Encoding`).
    /// - Throws: `Problem` 413 beyond the limit, 415 for another encoding, 400 for damaged gzip.
    public func collectBody(limit: Int) async throws -> ByteBuffer {
        if let length = self.headers[.contentLength].flatMap({ Int($0) }), length > limit {
            throw Self.tooLarge(limit)
        }
        let body: ByteBuffer
        do {
            body = try await self.body.collect(upTo: limit)
        } catch is NIOTooManyBytesError {
            throw Self.tooLarge(limit)
        }
        switch self.headers[.contentEncoding]?.lowercased() ?? "identity" {
        case "identity": return body
        case "gzip", "x-gzip": return try GzipBody.inflate(body, limit: limit)
        default:
            throw Problem(.unsupportedMediaType, detail: "Content-Encoding must be gzip or absent")
        }
    }

    /// Reads the body as JSON.
    /// - Throws: `Problem` 400 that names the field at fault.
    public func decodeBody<Value: Decodable>(_ type: Value.Type, limit: Int) async throws -> Value {
        if let field = self.headers[.contentType], FieldList.mediaType(field) != "application/json" {
            throw Problem(.unsupportedMediaType, detail: "Content-Type must be application/json")
        }
        let body = try await self.collectBody(limit: limit)
        try JSONNesting.check(body.readableBytesView)
        return try JSONDecoder().decode(Value.self, from: Data(body.readableBytesView))
    }

    static func tooLarge(_ limit: Int) -> Problem {
        Problem(.bodyTooLarge, detail: "the body must be at most \(limit) bytes, also after decompression")
    }
}

/// Refuses deeply nested JSON before a recursive parser sees it.
public enum JSONNesting {
    public static let depthLimit = 64

    public static func check(_ bytes: some Sequence<UInt8>) throws(Problem) {
        var depth = 0
        var isInText = false
        var isEscaped = false
        for byte in bytes {
            if isInText {
                if isEscaped {
                    isEscaped = false
                } else if byte == 0x5C {
                    isEscaped = true
                } else if byte == 0x22 {
                    isInText = false
                }
                continue
            }
            switch byte {
            case 0x22: isInText = true
            case 0x5B, 0x7B:
                depth += 1
                guard depth <= Self.depthLimit else {
                    throw Problem(.malformedBody, detail: "JSON may be nested at most \(Self.depthLimit) deep")
                }
            case 0x5D, 0x7D: depth -= 1
            default: continue
            }
        }
    }
}
