import Foundation
import Model

/// What a snapshot consists of, and what each file must be.
struct SnapshotManifest: Codable, Hashable, Sendable {
    static let format = 1
    static let fileName = "manifest.json"
    /// In the form of `sha256sum`, so that `sha256sum -c` checks a snapshot without us.
    static let sumsName = "SHA256SUMS"

    struct File: Codable, Hashable, Sendable {
        var table: String
        var content: String
        var name: String
        var columns: [String]
        var rows: Int
        /// Of the file, and of what it unpacks to.
        var bytes: Int
        var unpackedBytes: Int
        var sha256: String
    }

    var format: Int
    var id: String
    var createdAt: Timestamp
    var host: String
    var programVersion: String
    var engineVersion: String
    /// Newest migration of the database it was taken from.
    var schemaNumber: Int
    var serverVersion: String
    /// The one database snapshot all files were read under, and where the log of the server stood.
    var databaseSnapshot: String
    var walPosition: String
    /// Revision of every shard, so that a restored database goes on counting behind it.
    var revisions: [Int64]
    var durationMs: Int64
    var files: [File]

    var rowCount: Int { self.files.reduce(0) { $0 + $1.rows } }
    var byteCount: Int { self.files.reduce(0) { $0 + $1.bytes } }

    /// Rows by what they are: edges, baselines, anomalies, forecasts and so on.
    var contents: [(content: String, rows: Int)] {
        var counts: [(content: String, rows: Int)] = []
        for file in self.files {
            if let index = counts.firstIndex(where: { $0.content == file.content }) {
                counts[index].rows += file.rows
            } else {
                counts.append((file.content, file.rows))
            }
        }
        return counts
    }

    /// - Throws: ``SnapshotError`` when it is of another format, or names what may not be named.
    init(encoded data: Data, id: String) throws(SnapshotError) {
        do {
            self = try JSONDecoder().decode(SnapshotManifest.self, from: data)
        } catch {
            throw SnapshotError(.damaged, "\(id): the manifest cannot be read: \(error)")
        }
        guard self.format == Self.format else {
            throw SnapshotError(
                .unfit, "\(id): the manifest has format \(self.format), this program knows \(Self.format)")
        }
        guard self.id == id else { throw SnapshotError(.damaged, "\(id): the manifest is that of \(self.id)") }
        let expected = SnapshotTable.all.map(\.name)
        guard self.files.map(\.table) == expected, self.files.allSatisfy({ $0.name == Self.name(of: $0.table) }) else {
            throw SnapshotError(.damaged, "\(id): the manifest must list \(expected.joined(separator: ", "))")
        }
    }

    init(
        id: String, createdAt: Timestamp, host: String, programVersion: String, engineVersion: String,
        schemaNumber: Int, serverVersion: String, databaseSnapshot: String, walPosition: String, revisions: [Int64]
    ) {
        self.format = Self.format
        self.id = id
        self.createdAt = createdAt
        self.host = host
        self.programVersion = programVersion
        self.engineVersion = engineVersion
        self.schemaNumber = schemaNumber
        self.serverVersion = serverVersion
        self.databaseSnapshot = databaseSnapshot
        self.walPosition = walPosition
        self.revisions = revisions
        self.durationMs = 0
        self.files = []
    }

    static func name(of table: String) -> String { "\(table).copy.gz" }

    func encoded() throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
        return try encoder.encode(self) + Data("\n".utf8)
    }
}

/// Names of snapshots: the time of making in UTC and a few random digits, `20260131T020000Z-3f9a1c`, so names order by age.
enum SnapshotName {
    static func make(at time: Date = Date()) -> String {
        var parts = Calendar(identifier: .gregorian)
        parts.timeZone = TimeZone(secondsFromGMT: 0) ?? parts.timeZone
        let part = parts.dateComponents([.year, .month, .day, .hour, .minute, .second], from: time)
        func digits(_ value: Int?, _ count: Int) -> String {
            let text = String(value ?? 0)
            return String(repeating: "0", count: max(0, count - text.count)) + text
        }
        let random = String(UInt32.random(in: 0..<1 << 24), radix: 16)
        return digits(part.year, 4) + digits(part.month, 2) + digits(part.day, 2) + "T" + digits(part.hour, 2)
            + digits(part.minute, 2) + digits(part.second, 2) + "Z-" + String(repeating: "0", count: 6 - random.count)
            + random
    }

    static func isName(_ text: String) -> Bool { text.wholeMatch(of: /[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}/) != nil }
}
