import Dispatch
import Synchronization

/// A ``RateTable`` behind a lock and on the machine's monotonic clock.
final class RateLimiter: Sendable {
    let policy: GCRA
    private let table: Mutex<RateTable>

    init(policy: GCRA, capacity: Int = 100_000) {
        self.policy = policy
        self.table = Mutex(RateTable(policy: policy, capacity: capacity))
    }

    func admit(_ key: String) -> GCRA.Decision {
        let now = MonotonicClock.nanoseconds()
        return self.table.withLock { $0.admit(key, now: now) }
    }

    func peek(_ key: String) -> GCRA.Decision {
        let now = MonotonicClock.nanoseconds()
        return self.table.withLock { $0.peek(key, now: now) }
    }

    var count: Int { self.table.withLock { $0.count } }
}

/// Nanoseconds since the machine started: never steps back and costs no system call.
enum MonotonicClock {
    static func nanoseconds() -> Int64 { Int64(clamping: DispatchTime.now().uptimeNanoseconds) }
}
