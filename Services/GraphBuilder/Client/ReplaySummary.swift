import Foundation

/// What became of one replay; a line of the summary file.
struct ReplaySummary: Codable, Sendable {
    var file: String
    /// Lines of the recording that were sent.
    var sent = 0
    /// Valid and durable now, duplicates included.
    var accepted = 0
    /// Of those, how many were known already.
    var duplicates = 0
    /// Refused by the service.
    var rejected = 0
    /// Rows of the file that are no observation, not sent.
    var badRows = 0
    /// From the first request to the last acknowledgement.
    var seconds = 0.0

    var perSecond: Double { self.seconds > 0 ? Double(self.sent) / self.seconds : 0 }

    var line: String {
        "\(self.file): \(self.sent) observations in \(Figure.fixed(self.seconds, 1)) s "
            + "(\(Figure.grouped(Int(self.perSecond.rounded()))) observations/s), \(self.duplicates) duplicates, "
            + "\(self.rejected + self.badRows) rejected"
    }

    /// Adds this summary as one JSON line to `path`.
    func append(to path: String) throws {
        var data = try JSONEncoder().encode(self)
        data.append(0x0A)
        guard FileManager.default.fileExists(atPath: path) else {
            try data.write(to: URL(fileURLWithPath: path))
            return
        }
        let file = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
        try file.seekToEnd()
        try file.write(contentsOf: data)
        try file.close()
    }

    static func readAll(_ path: String) throws -> [ReplaySummary] {
        let data = try Data(contentsOf: URL(fileURLWithPath: path))
        return try data.split(separator: 0x0A).map { try JSONDecoder().decode(ReplaySummary.self, from: Data($0)) }
    }
}
