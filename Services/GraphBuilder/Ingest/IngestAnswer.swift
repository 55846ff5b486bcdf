import Foundation
import Model

/// The body of the answer to `POST /v1/observations`.
struct IngestAnswer: Codable, Sendable, Hashable {
    /// Valid items that are durable now, known ones included.
    var accepted: Int
    /// How many of the accepted were known already.
    var duplicates: Int
    var rejected: Int
    /// The first 1,000 verdicts.
    var errors: [ItemVerdict]
    /// Transactions the items were committed in.
    var batches: Int

    func encoded() throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        return Array(try encoder.encode(self))
    }

    /// Said when not one item is valid: the first few verdicts.
    static func allRejected(_ verdicts: [ItemVerdict], count: Int) -> Problem {
        let shown = verdicts.prefix(5).map { verdict in
            "line \(verdict.line): \(verdict.field.map { $0 + " " } ?? "")\(verdict.detail)"
        }
        return Problem(
            .invalidRequest, detail: "None of the \(count) items is valid. " + shown.joined(separator: "; "))
    }
}
