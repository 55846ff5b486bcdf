import Glibc
import Synchronization

/// ``RateTable``s behind locks and on the machine's monotonic clock; a key always meets the same one, and keys of different
/// tables do not wait for each other.
final class RateLimiter: Sendable {
    static let laneCount = 16

    private final class Lane: Sendable {
        let table: Mutex<RateTable>
        init(_ table: RateTable) { self.table = Mutex(table) }
    }

    private let currentPolicy: Mutex<GCRA>
    private let lanes: [Lane]

    init(policy: GCRA, capacity: Int = 100_000) {
        self.currentPolicy = Mutex(policy)
        self.lanes = (0..<Self.laneCount).map { _ in
            Lane(RateTable(policy: policy, capacity: max(1, capacity / Self.laneCount)))
        }
    }

    var policy: GCRA { self.currentPolicy.withLock { $0 } }

    func set(policy: GCRA) {
        self.currentPolicy.withLock { $0 = policy }
        let now = MonotonicClock.nanoseconds()
        for lane in self.lanes { lane.table.withLock { $0.set(policy: policy, now: now) } }
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
    static func nanoseconds() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
}
