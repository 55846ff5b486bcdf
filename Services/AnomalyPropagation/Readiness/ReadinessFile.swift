import Crypto
import Foundation
import Model
import ServiceRuntime

/// Evidence on its way from one installation to another: JSON lines, the first of which seals how many there are and which, so
/// that no row can be changed, added or left out. A value without I/O.
enum ReadinessFile {
    static let format = "undercurrent readiness 1"
    static let byteLimit = 4 << 20
    static let rowLimit = 1_000

    private struct Header: Codable {
        var format: String
        var rows: Int
        var seal: String
    }

    private struct Line: Codable {
        var row: ReadinessRow
        var seal: String
    }

    /// - Parameter rows: each with its seal.
    static func text(_ rows: [(row: ReadinessRow, seal: String)], secret: SymmetricKey) throws -> String {
        let header = Header(
            format: Self.format, rows: rows.count, seal: Self.seal(of: rows.map(\.seal), by: secret))
        let encoder = APIJSON.encoder()
        func line(_ value: some Encodable) throws -> String {
            String(decoding: try encoder.encode(value), as: UTF8.self) + "\n"
        }
        return try line(header) + rows.map { try line(Line(row: $0.row, seal: $0.seal)) }.joined()
    }

    /// - Parameter secrets: those whose seals are believed.
    /// - Returns: all rows; there is no such thing as a part of a file.
    static func rows(in data: Data, secrets: [SymmetricKey]) throws(ReadinessFileError) -> [ReadinessRow] {
        guard data.count <= Self.byteLimit else { throw .damaged("it has more than \(Self.byteLimit) bytes") }
        let lines = data.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        let decoder = JSONDecoder()
        guard let first = lines.first, let header = try? decoder.decode(Header.self, from: first),
            header.format == Self.format
        else { throw .damaged("its first line is not that of '\(Self.format)'") }
        guard (0...Self.rowLimit).contains(header.rows) else { throw .damaged("it cannot have \(header.rows) rows") }
        // Every line has its end, the last one too.
        guard lines.count - 2 == header.rows, lines.last?.isEmpty == true else {
            throw .damaged("it ends early or has more than its \(header.rows) rows")
        }
        var found: [Line] = []
        for (index, line) in lines.dropFirst().dropLast().enumerated() {
            guard let row = try? decoder.decode(Line.self, from: line) else {
                throw .damaged("line \(index + 2) is not a row")
            }
            guard row.row.isSealed(row.seal, by: secrets) else {
                throw .forged("no accepted secret sealed line \(index + 2) (\(row.row.check.prefix(64)))")
            }
            found.append(row)
        }
        let seals = found.map(\.seal)
        guard secrets.contains(where: { Self.seal(of: seals, by: $0) == header.seal }) else {
            throw .forged("no accepted secret sealed these rows together")
        }
        return found.map(\.row)
    }

    private static func seal(of seals: [String], by secret: SymmetricKey) -> String {
        let text = ([Self.format, String(seals.count)] + seals).joined(separator: "\n")
        return HMAC<SHA256>.authenticationCode(for: Data(text.utf8), using: secret).hexadecimal
    }
}

/// Why a file of evidence is not taken; nothing of it was.
enum ReadinessFileError: Error, Hashable, CustomStringConvertible {
    case damaged(String)
    case forged(String)
    case own(environment: String)

    var description: String {
        switch self {
        case .damaged(let why): "the file is damaged: \(why)"
        case .forged(let why): "the file is not believed: \(why)"
        case .own(let environment):
            "the file has evidence of \(environment), which this installation itself is: only its own runs write that"
        }
    }
}

extension Sequence<UInt8> {
    /// Two digits a byte.
    var hexadecimal: String {
        self.map { byte in
            let digits = String(byte, radix: 16)
            return digits.count == 1 ? "0" + digits : digits
        }.joined()
    }
}
