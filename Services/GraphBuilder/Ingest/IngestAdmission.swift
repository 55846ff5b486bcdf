import Model
import Synchronization

/// Lets a bounded number of ingests run at once; the next one is refused at once with the time a place takes to come free.
final class IngestAdmission: Sendable {
    private struct State {
        var running = 0
        /// Moving average of how long an ingest takes.
        var seconds = 0.1
    }

    let limit: Int
    private let state = Mutex(State())

    init(limit: Int) {
        precondition(limit > 0, "a limit of zero would refuse every request")
        self.limit = limit
    }

    var running: Int { self.state.withLock { $0.running } }

    /// - Throws: an `overloaded` problem with `retryAfter` when all places are taken.
    func enter() throws(Problem) {
        let seconds: Double? = self.state.withLock { state in
            guard state.running < self.limit else { return state.seconds }
            state.running += 1
            return nil
        }
        guard let seconds else { return }
        throw Problem(
            .overloaded, detail: "All \(self.limit) places for sending observations are taken.",
            retryAfter: max(1, seconds.rounded(.up)))
    }

    func leave(after duration: Duration) {
        let (seconds, attoseconds) = duration.components
        let taken = Double(seconds) + Double(attoseconds) * 1e-18
        self.state.withLock { state in
            state.running -= 1
            state.seconds = 0.9 * state.seconds + 0.1 * taken
        }
    }
}
