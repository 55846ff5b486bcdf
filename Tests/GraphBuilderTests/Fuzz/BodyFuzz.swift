import Foundation
import Model
import NIOCore
import ServiceRuntime

@testable import GraphBuilder

/// Bodies of observations, read whole and in pieces, and by other readers.
enum BodyFuzz {
    /// What came of a body.
    private enum Outcome: Equatable {
        case read(rows: [String], names: Set<NodeKey>, verdicts: [ItemVerdict])
        case refused(String)
    }

    private static func outcome(_ bytes: [UInt8], _ format: BodyScanner.Format, step: Int) -> Outcome {
        do {
            let decoder = try IngestParsingTests.decode(bytes, format, step: step)
            return .read(
                rows: decoder.chunk.rows.map { "\($0)" }, names: Set(decoder.chunk.newNodes.values),
                verdicts: decoder.verdicts)
        } catch {
            return .refused("\(error)")
        }
    }

    static func faults(_ bytes: [UInt8], _ format: BodyScanner.Format) -> [String] {
        let whole = Self.outcome(bytes, format, step: max(1, bytes.count))
        var faults = [1, 2, 7, 64].filter { $0 < bytes.count && Self.outcome(bytes, format, step: $0) != whole }
            .map { "in pieces of \($0) it reads otherwise than \(whole)" }
        guard format == .lines else { return faults + Self.array(bytes) }
        // What is accepted in lines is accepted in an array.
        let items = bytes.split(separator: 0x0A).filter { Self.values([UInt8]($0), .lines).count == 1 }
        let array = Array("[".utf8) + items.joined(separator: Array(", ".utf8)) + Array("]".utf8)
        if Self.values(array, .array) != items.flatMap({ Self.values([UInt8]($0), .lines) }) {
            faults.append("in an array it reads otherwise")
        }
        for item in items { faults += Self.item([UInt8](item)) }
        return faults
    }

    /// A whole array against Foundation's reader: as many items, whatever is wrong with each.
    private static func array(_ bytes: [UInt8]) -> [String] {
        let other = try? JSONSerialization.jsonObject(with: Data(bytes)) as? [Any]
        let decoder = try? IngestParsingTests.decode(bytes, .array)
        let text = String(decoding: bytes, as: UTF8.self)
        if let other, Self.isPlain(bytes), decoder?.items != other.count {
            return ["\(decoder?.items ?? -1) items instead of \(other.count) in \(text)"]
        }
        return other == nil && decoder?.rejected == 0 ? ["only we can read \(text)"] : []
    }

    /// Times and values of accepted items; none when the body is refused.
    private static func values(_ bytes: [UInt8], _ format: BodyScanner.Format) -> [String] {
        (try? IngestParsingTests.decode(bytes, format))?.chunk.rows.map { "\($0.timeMs) \($0.value)" } ?? []
    }

    /// One item against Foundation's reader.
    static func item(_ bytes: [UInt8]) -> [String] {
        guard !bytes.contains(0x0A), bytes.count <= BodyScanner.itemLimit,
            let decoder = try? IngestParsingTests.decode(bytes), decoder.items == 1
        else { return [] }
        let text = String(decoding: bytes, as: UTF8.self)
        let other = try? JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any]
        guard let row = decoder.chunk.rows.first, let names = decoder.chunk.newNodes.values.first else {
            let isNoJSON = decoder.verdicts.first?.field == nil
            return isNoJSON && other != nil && Self.isPlain(bytes) ? ["only we cannot read \(text)"] : []
        }
        guard let other else { return ["only we can read \(text)"] }
        func name(_ field: String) -> String? { other[field] as? String }
        var faults: [String] = []
        let given = NodeKey(
            domain: name("domain") ?? "", event: name("event") ?? "", market: name("market") ?? "",
            venue: name("venue") ?? "")
        if given != names { faults.append("\(names) of \(text)") }
        let value = (other["value"] as? NSNumber)?.doubleValue ?? .nan
        // Foundation's last digit is another one now and then.
        if !(abs(value - row.value) <= 1e-15 * abs(value)) { faults.append("\(row.value) of \(text)") }
        return faults
    }

    /// Whether both readers speak the same language: Foundation takes other encodings, more levels, and a comma before a bracket.
    private static func isPlain(_ bytes: [UInt8]) -> Bool {
        String(validating: bytes, as: UTF8.self) != nil && !bytes.contains(0)
            && !bytes.starts(with: [0xEF, 0xBB, 0xBF])
            && bytes.count { $0 == 0x5B || $0 == 0x7B } < JSONCursor.depthLimit
            && String(decoding: bytes, as: UTF8.self).firstMatch(of: /,[ \t\r]*[}\]]/.matchingSemantics(.unicodeScalar))
                == nil
    }

    /// Against the reader that has the whole body at once.
    static func gzip(_ bytes: [UInt8]) -> [String] {
        let limit = 1 << 20
        let whole = try? GzipBody.inflate(.init(bytes: bytes), limit: limit)
        return [1, 3, 64, max(1, bytes.count)].compactMap { step in
            let found = try? IngestParsingTests.inflate(bytes, limit: limit, step: step)
            guard found != whole.map({ Array($0.readableBytesView) }) else { return nil }
            return "in pieces of \(step): \(found?.count ?? -1) bytes, at once \(whole?.readableBytes ?? -1)"
        }
    }
}
