import Foundation
import Testing

/// Tests against the real programs. One after the other: some of them take the database away from all.
@Suite("Processes", .serialized)
struct ProcessTests {
    /// A time of the recent past, in epoch milliseconds, whole minutes.
    static let origin: Int64 = Int64(Date.now.timeIntervalSince1970 / 60) * 60_000 - 7_200_000

    /// An event nobody else uses.
    static func event(_ name: String = "event") -> String { "\(name)-\(UUID().uuidString.prefix(8))" }
}
