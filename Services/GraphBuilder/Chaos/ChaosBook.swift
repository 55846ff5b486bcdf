import Model
import ServiceRuntime
import Synchronization

/// The latest trials of this replica and what came of them, in bounded memory.
final class ChaosBook: Sendable {
    static let capacity = 32
    /// Trials looked at at once.
    static let watchedLimit = 8

    struct Result: Encodable, Sendable {
        enum State: String, Encodable, Sendable { case running, met, notMet }

        var state: State
        /// What was not as expected.
        var faults: [String]
        var seen: ChaosSeen
    }

    struct Entry: Encodable, Sendable {
        var id: String
        /// Who carried it out: host:port of the replica.
        var replica: String
        var startedAt: Timestamp
        var kind: ChaosTrial.Kind
        var seconds: Int
        var expectation: String
        var done: String
        var result: Result
    }

    private let entries = Mutex<[Entry]>([])

    /// Newest first.
    var latest: [Entry] { self.entries.withLock { $0.reversed() } }

    /// - Throws: 503 while too many trials go on.
    func requireRoom() throws(Problem) {
        let running = self.entries.withLock { $0.count { $0.result.state == .running } }
        guard running < Self.watchedLimit else {
            throw Problem(.unavailable, detail: "\(running) trials go on; wait for their results.", retryAfter: 10)
        }
    }

    func add(_ entry: Entry) {
        self.entries.withLock { entries in
            entries.append(entry)
            // The ones that still run are kept: there are at most a few.
            if entries.count > Self.capacity, let old = entries.firstIndex(where: { $0.result.state != .running }) {
                entries.remove(at: old)
            }
        }
    }

    func isRunning(_ id: String) -> Bool {
        self.entries.withLock { $0.contains { $0.id == id && $0.result.state == .running } }
    }

    func note(_ result: Result, of id: String) {
        self.entries.withLock { entries in
            guard let index = entries.firstIndex(where: { $0.id == id }) else { return }
            entries[index].result = result
        }
    }
}
