import Model
import NIOCore
import Testing

@testable import Gateway

/// The bucket as one would explain it: a level in exact fractions that rises with time and falls with each request.
private struct SlowBucket {
    let burst: Int
    let interval: Int64
    /// Nanoseconds' worth of tokens.
    var level: Int64
    var last: Int64

    init(burst: Int, interval: Int64, now: Int64) {
        self.burst = burst
        self.interval = interval
        self.level = Int64(burst) * interval
        self.last = now
    }

    mutating func admit(now: Int64) -> Bool {
        self.level = min(Int64(self.burst) * self.interval, self.level + max(0, now - self.last))
        self.last = max(self.last, now)
        guard self.level >= self.interval else { return false }
        self.level -= self.interval
        return true
    }
}

@Suite("GCRA")
struct GCRATests {
    @Test(
        "decides like a bucket that is filled and emptied, whatever the times",
        arguments: [(1, 1.0), (5, 3.0), (1_000, 1_000.0), (7, 0.5), (100, 1_000_000.0)], 1...8)
    func equalsBucket(policy: (Int, Double), seed: Int) {
        let gcra = GCRA(burst: policy.0, refillPerSecond: policy.1)
        var random = SplitMix(seed: UInt64(seed))
        var now: Int64 = 1_000_000
        var arrival = Int64.min
        var bucket = SlowBucket(burst: gcra.burst, interval: gcra.intervalNanoseconds, now: now)
        for _ in 0..<3_000 {
            // Mostly near the limit, at times a long pause.
            let step = random.below(20) == 0 ? gcra.intervalNanoseconds * Int64(gcra.burst) : gcra.intervalNanoseconds
            now += Int64(random.below(UInt64(step) + 1))
            let decision = gcra.admit(&arrival, now: now)
            #expect(decision.isAdmitted == bucket.admit(now: now))
            #expect((0...gcra.burst).contains(decision.remaining))
            #expect(Int64(decision.remaining) == bucket.level / bucket.interval)
        }
    }

    @Test("what it says about waiting is true to the nanosecond")
    func retryAfterIsTrue() {
        let gcra = GCRA(burst: 3, refillPerSecond: 7)
        var arrival = Int64.min
        for _ in 0..<3 { #expect(gcra.admit(&arrival, now: 50).isAdmitted) }
        let refused = gcra.admit(&arrival, now: 50)
        #expect(!refused.isAdmitted)
        #expect(refused.retryAfterNanoseconds > 0)
        var early = arrival
        #expect(!gcra.admit(&early, now: 50 + refused.retryAfterNanoseconds - 1).isAdmitted)
        #expect(gcra.admit(&arrival, now: 50 + refused.retryAfterNanoseconds).isAdmitted)
    }

    @Test("a clock that steps back admits no more than one that stands still")
    func clockStepsBack() {
        let gcra = GCRA(burst: 2, refillPerSecond: 1)
        var arrival = Int64.min
        #expect(gcra.admit(&arrival, now: 10_000_000_000).isAdmitted)
        #expect(gcra.admit(&arrival, now: 9_999_000_000).isAdmitted == false || arrival > 10_000_000_000)
        #expect(!gcra.admit(&arrival, now: 9_998_000_000).isAdmitted)
    }

    @Test("over any span no more than burst plus rate times the span is admitted")
    func neverAboveRate() {
        let gcra = GCRA(burst: 10, refillPerSecond: 100)
        var arrival = Int64.min
        var admitted = 0
        for step in 0..<20_000 {
            if gcra.admit(&arrival, now: Int64(step) * 100_000).isAdmitted { admitted += 1 }
        }
        #expect(admitted <= 10 + 200)
        #expect(admitted >= 200)
    }
}

@Suite("Rate table")
struct RateTableTests {
    @Test("callers do not spend each other's tokens")
    func callersAreApart() {
        var table = RateTable(policy: GCRA(burst: 2, refillPerSecond: 1), capacity: 10)
        #expect(table.admit("a", now: 0).isAdmitted)
        #expect(table.admit("a", now: 0).isAdmitted)
        #expect(!table.admit("a", now: 0).isAdmitted)
        #expect(table.admit("b", now: 0).isAdmitted)
    }

    @Test("memory stays bounded; newcomers to a full table share one bucket and known callers keep theirs")
    func staysBounded() {
        var table = RateTable(policy: GCRA(burst: 3, refillPerSecond: 0.001), capacity: 100)
        #expect(table.admit("known", now: 0).isAdmitted)
        var admitted = 0
        for index in 0..<10_000 where table.admit("flood \(index)", now: 0).isAdmitted { admitted += 1 }
        #expect(table.count == 100)
        #expect(admitted == 99 + 3)
        #expect(table.admit("known", now: 0).isAdmitted)
    }

    @Test("a full table forgets those whose bucket is full again, and that changes no decision")
    func forgetsOnlyFullBuckets() {
        let policy = GCRA(burst: 2, refillPerSecond: 1)
        var table = RateTable(policy: policy, capacity: 4)
        var wide = RateTable(policy: policy, capacity: 1_000_000)
        var random = SplitMix(seed: 9)
        var now: Int64 = 0
        for _ in 0..<5_000 {
            now += 2_500_000_000
            let key = "caller \(random.below(1_000))"
            #expect(table.admit(key, now: now) == wide.admit(key, now: now))
        }
        #expect(table.count <= 4)
    }

    @Test("looking does not spend")
    func peekDoesNotSpend() {
        var table = RateTable(policy: GCRA(burst: 1, refillPerSecond: 1), capacity: 10)
        for _ in 0..<5 { #expect(table.peek("a", now: 0).isAdmitted) }
        #expect(table.admit("a", now: 0).isAdmitted)
        #expect(!table.peek("a", now: 0).isAdmitted)
    }
}

@Suite("Rate limit fields")
struct RateLimitFieldsTests {
    @Test("policy and state are structured fields; the problem tells a true time and its scope")
    func fields() {
        let policy = GCRA(burst: 1_000, refillPerSecond: 1_000)
        var arrival = Int64.min
        var lines = ByteBuffer()
        let first = policy.admit(&arrival, now: 0)
        lines.write(room: 64) { RateLimitFields.writeState(first, named: "caller", into: &$0) }
        #expect(RateLimitFields.policyLine(policy, named: "caller") == "ratelimit-policy: \"caller\";q=1000;w=1\r\n")
        #expect(String(buffer: lines) == "ratelimit: \"caller\";r=999;t=1\r\n")
        for _ in 0..<999 { _ = policy.admit(&arrival, now: 0) }
        let refused = policy.admit(&arrival, now: 0)
        let problem = RateLimitFields.problem(refused, of: policy, whose: "A caller")
        #expect(problem.status == 429)
        #expect(problem.retryAfter == 0.001)
        #expect(problem.scope == "per-instance")
        #expect(problem.detail.contains("1 ms"))
    }
}

/// SplitMix64: small, seeded, the same everywhere.
struct SplitMix {
    private var state: UInt64
    init(seed: UInt64) { self.state = seed }

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var value = self.state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }

    mutating func below(_ bound: UInt64) -> UInt64 { self.next() % bound }
}
