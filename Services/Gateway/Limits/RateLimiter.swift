import Dispatch
import Synchronization

/// ``RateTable``s behind locks and on the machine's monotonic clock; a key always meets the same one, and keys of different
/// tables do not wait for each other.
final class RateLimiter: Sendable {
    static let laneCount = 16

    private final class Lane: Sendable {
        let table: Mutex<RateTable>
        init(_ table: RateTable) { self.table = Mutex(table) }
    }

    let policy: GCRA
    private let lanes: [Lane]

    init(policy: GCRA, capacity: Int = 100_000) {
        self.policy = policy
        self.lanes = (0..<Self.laneCount).map { _ in
            Lane(RateTable(policy: policy, capacity: max(1, capacity / Self.laneCount)))
        }
    }

    private func lane(_ key: String) -> Lane {
        self.lanes[Int(truncatingIfNeeded: UInt(bitPattern: key.hashValue) % UInt(Self.laneCount))]
    }

    func admit(_ key: String) -> GCRA.Decision {
        let now = MonotonicClock.nanoseconds()
        return self.lane(key).table.withLock { $0.admit(key, now: now) }
    }

    func peek(_ key: String) -> GCRA.Decision {
        let now = MonotonicClock.nanoseconds()
        return self.lane(key).table.withLock { $0.peek(key, now: now) }
    }

    var count: Int { self.lanes.reduce(0) { $0 + $1.table.withLock { $0.count } } }
}

/// Nanoseconds since the machine started: never steps back and costs no system call.
enum MonotonicClock {
    static func nanoseconds() -> Int64 { Int64(clamping: DispatchTime.now().uptimeNanoseconds) }
}
