import Model
import Postgres
import Synchronization
import TestSupport
import Testing

@testable import Gateway

/// The shared bucket as the database keeps it, with a time that answers take.
private struct SimulatedStore {
    var arrival: Int64 = 0
    var questions = 0

    mutating func take(_ wanted: Int, policy: GCRA, now: Int64) -> LeasedBucket.Grant {
        self.questions += 1
        let capacity = Int64(policy.burst) * policy.intervalNanoseconds
        self.arrival = max(self.arrival, now)
        let granted = max(0, min(wanted, Int((now + capacity - self.arrival) / policy.intervalNanoseconds)))
        self.arrival += Int64(granted) * policy.intervalNanoseconds
        return LeasedBucket.Grant(
            granted: granted, remaining: Int((now + capacity - self.arrival) / policy.intervalNanoseconds),
            retryNanoseconds: max(0, self.arrival + policy.intervalNanoseconds - capacity - now),
            resetNanoseconds: self.arrival - now)
    }
}

/// Answers nobody until it is opened.
private final class HeldSource: LeaseSource {
    private let isOpen = Atomic<Bool>(false)

    func open() { self.isOpen.store(true, ordering: .relaxed) }

    func take(_ key: String, wanted: Int, policy: GCRA) async throws -> LeasedBucket.Grant {
        while !self.isOpen.load(ordering: .relaxed) { try await Task.sleep(for: .milliseconds(1)) }
        return LeasedBucket.Grant(granted: wanted, remaining: policy.burst, retryNanoseconds: 0, resetNanoseconds: 0)
    }
}

/// Counts how often the database is asked.
private final class CountingSource: LeaseSource {
    private let store: LeaseStore
    private let count = Atomic<Int>(0)

    init(store: LeaseStore) { self.store = store }

    var questions: Int { self.count.load(ordering: .relaxed) }

    func take(_ key: String, wanted: Int, policy: GCRA) async throws -> LeasedBucket.Grant {
        self.count.add(1, ordering: .relaxed)
        return try await self.store.take(key, wanted: wanted, policy: policy)
    }
}

@Suite("One limit over many gateways")
struct SharedLimitTests {
    private struct Run {
        var admitted = 0
        var requests = 0
        var questions = 0
    }

    /// `replicas` at each moment (in seconds) gives how many gateways there are; the store answers after 3 ms, or never.
    private func run(
        _ policy: GCRA, seconds: Int, requestsPerSecond: Int, replicas: (Double) -> Int,
        isAway: (Double) -> Bool = { _ in false }
    ) -> Run {
        var run = Run()
        var store = SimulatedStore()
        var buckets: [LeasedBucket] = []
        var answers: [(at: Int64, replica: Int, grant: LeasedBucket.Grant?)] = []
        let step = Int64(1_000_000_000 / requestsPerSecond)
        var random = SplitMix(seed: 3)
        for index in 0..<seconds * requestsPerSecond {
            let now = 1_000_000_000 + Int64(index) * step
            let second = Double(index) / Double(requestsPerSecond)
            let count = replicas(second)
            // A gateway that leaves takes its unspent tokens with it; one that comes knows nothing.
            if buckets.count > count { buckets.removeLast(buckets.count - count) }
            while buckets.count < count { buckets.append(LeasedBucket(policy: policy)) }
            for answer in answers where answer.at <= now && answer.replica < count {
                if let grant = answer.grant {
                    buckets[answer.replica].take(grant, now: now)
                } else {
                    buckets[answer.replica].fail(now: now)
                }
            }
            answers.removeAll { $0.at <= now }
            let replica = Int(random.below(UInt64(count)))
            let (decision, ask) = buckets[replica].admit(now: now)
            run.requests += 1
            if decision.isAdmitted { run.admitted += 1 }
            guard let ask else { continue }
            let grant = isAway(second) ? nil : store.take(ask, policy: policy, now: now)
            answers.append((now + 3_000_000, replica, grant))
        }
        run.questions = store.questions
        return run
    }

    @Test(
        "at twice the limit 1, 3 and 10 gateways together admit it within 1 %, and ask for less than 1 % of requests",
        arguments: [1, 3, 10])
    func accuracy(replicas: Int) {
        let policy = GCRA(burst: 1_000, refillPerSecond: 1_000)
        let run = self.run(policy, seconds: 60, requestsPerSecond: 2_000) { _ in replicas }
        let allowed = 61_000.0
        #expect(abs(Double(run.admitted) - allowed) / allowed < 0.01, "\(run.admitted)")
        #expect(Double(run.questions) / Double(run.requests) < 0.01, "\(run.questions)")
    }

    @Test(
        "while gateways come and go it is admitted within 1 %: those that leave take unspent tokens along")
    func comingAndGoing() {
        let policy = GCRA(burst: 1_000, refillPerSecond: 1_000)
        let run = self.run(policy, seconds: 60, requestsPerSecond: 2_000) { second in
            [1, 4, 10, 6, 2, 8][Int(second / 10)]
        }
        #expect((60_390...61_610).contains(run.admitted), "\(run.admitted)")
    }

    @Test("below the limit nobody is refused, however many gateways there are", arguments: [1, 3, 10])
    func nobodyRefused(replicas: Int) {
        let policy = GCRA(burst: 1_000, refillPerSecond: 1_000)
        let run = self.run(policy, seconds: 30, requestsPerSecond: 800) { _ in replicas }
        #expect(Double(run.admitted) / Double(run.requests) > 0.998, "\(run.admitted) of \(run.requests)")
        #expect(Double(run.questions) / Double(run.requests) < 0.01, "\(run.questions)")
    }

    @Test("budgets of less than a thousand requests ask more often, about once in a tenth of the burst")
    func smallBudgets() {
        let policy = GCRA(burst: 100, refillPerSecond: 100)
        let run = self.run(policy, seconds: 60, requestsPerSecond: 80) { _ in 1 }
        #expect(run.admitted == run.requests, "\(run.admitted) of \(run.requests)")
        #expect(Double(run.questions) / Double(run.requests) < 0.12, "\(run.questions)")
    }

    @Test(
        "whoever comes back after a pause finds the whole budget, and a tenth of it before the database has answered",
        arguments: [GCRA(burst: 1_000, refillPerSecond: 1_000), GCRA(burst: 100, refillPerSecond: 0.5)])
    func backFromIdle(policy: GCRA) {
        var line = Line(policy: policy)
        while line.admit().isAdmitted { line.now += 500_000 }
        let isRefused = !line.admit().isAdmitted
        #expect(isRefused)
        line.now += 3_600_000_000_000
        // At one moment a tenth, but for the few it owes from before.
        var admitted = 0
        while admitted < policy.burst / 10, line.admit().isAdmitted { admitted += 1 }
        #expect(admitted >= policy.burst / 10 - 4)
        line.now += 4_000_000
        while admitted < policy.burst, line.admit().isAdmitted {
            admitted += 1
            line.now += 500_000_000 / Int64(policy.burst)
        }
        #expect(admitted >= policy.burst - 4)
    }

    @Test(
        "the wait that a refusal tells is true: behind it a request is admitted",
        arguments: [
            GCRA(burst: 1, refillPerSecond: 0.2), GCRA(burst: 5, refillPerSecond: 1),
            GCRA(burst: 20, refillPerSecond: 50),
            GCRA(burst: 1_000, refillPerSecond: 1_000), GCRA(burst: 1_000, refillPerSecond: 10),
        ], [Int64(100_000), 1_000_000, 70_000_000])
    func trueWait(policy: GCRA, gap: Int64) {
        var line = Line(policy: policy)
        var waits = 0
        var random = SplitMix(seed: 11)
        for _ in 0..<20_000 where waits < 200 {
            line.now += Int64(random.below(UInt64(gap)))
            let decision = line.admit()
            guard !decision.isAdmitted else { continue }
            waits += 1
            line.now += decision.retryAfterNanoseconds
            let isAdmitted = line.admit().isAdmitted
            #expect(isAdmitted, "after \(decision.retryAfterNanoseconds) ns")
        }
        // Those who come more slowly than tokens come back meet no limit.
        #expect(waits > 0 || Double(gap) / 2 > Double(policy.intervalNanoseconds))
    }

    /// One gateway and its database, which answers after 3 ms.
    private struct Line {
        let policy: GCRA
        var now: Int64 = 1_000_000_000
        private var bucket: LeasedBucket
        private var store = SimulatedStore()
        private var answers: [(at: Int64, grant: LeasedBucket.Grant)] = []

        init(policy: GCRA) {
            self.policy = policy
            self.bucket = LeasedBucket(policy: policy)
        }

        mutating func admit() -> GCRA.Decision {
            while let first = self.answers.first, first.at <= self.now {
                self.bucket.take(first.grant, now: first.at)
                self.answers.removeFirst()
            }
            let (decision, ask) = self.bucket.admit(now: self.now)
            if let ask {
                self.answers.append((self.now + 3_000_000, self.store.take(ask, policy: self.policy, now: self.now)))
            }
            return decision
        }
    }

    @Test("a small limit is never exceeded by more than one request a gateway")
    func small() {
        let policy = GCRA(burst: 5, refillPerSecond: 1)
        let run = self.run(policy, seconds: 60, requestsPerSecond: 50) { _ in 10 }
        #expect(run.admitted <= 65 + 10, "\(run.admitted)")
        #expect(run.admitted >= 60, "\(run.admitted)")
    }

    @Test(
        "while the database is away each gateway goes on at its latest rate: together at most a tenth above the limit")
    func away() {
        let policy = GCRA(burst: 1_000, refillPerSecond: 1_000)
        let before = self.run(policy, seconds: 20, requestsPerSecond: 2_000, replicas: { _ in 4 })
        let whole = self.run(
            policy, seconds: 60, requestsPerSecond: 2_000, replicas: { _ in 4 }, isAway: { $0 >= 20 })
        let meanwhile = whole.admitted - before.admitted
        #expect(meanwhile < 44_000 && meanwhile > 20_000, "\(meanwhile)")
    }

    @Test("a gateway that begins while the database is away admits a tenth of the limit, however much is asked of it")
    func newWhileAway() {
        let policy = GCRA(burst: 1_000, refillPerSecond: 1_000)
        // 4 gateways know their rate, 6 come without ever having had a grant.
        let before = self.run(policy, seconds: 20, requestsPerSecond: 4_000, replicas: { _ in 4 })
        let whole = self.run(
            policy, seconds: 60, requestsPerSecond: 4_000, replicas: { $0 < 20 ? 4 : 10 }, isAway: { $0 >= 20 })
        let meanwhile = Double(whole.admitted - before.admitted) / 40_000
        #expect(meanwhile <= 1.1 + 6 * 0.1, "\(meanwhile)")
        #expect(meanwhile > 1, "\(meanwhile)")
    }

    @Test("callers whose question has to wait for those of others are no callers of a database that is away")
    func manyAtOnce() {
        let source = HeldSource()
        defer { source.open() }
        let limiter = SharedLimiter(policy: GCRA(burst: 100, refillPerSecond: 10), source: source)
        for caller in 0..<3 * SharedLimiter.concurrentAsks {
            for request in 0..<5 {
                #expect(limiter.admit("caller-\(caller)").isAdmitted, "request \(request) of caller \(caller)")
            }
        }
    }

    @Test("PostgreSQL keeps the bucket: never more than the limit, true times, under many takers")
    func statement() async throws {
        try await TestDatabase.with { database in
            try await database.withPool { pool in
                let store = LeaseStore(pool: pool)
                let policy = GCRA(burst: 100, refillPerSecond: 0.1)
                let first = try await store.take("a", wanted: 30, policy: policy)
                #expect(first.granted == 30 && first.remaining == 70 && first.retryNanoseconds == 0)
                let granted = try await withThrowingTaskGroup(of: Int.self) { group in
                    for _ in 0..<20 {
                        group.addTask { try await store.take("a", wanted: 10, policy: policy).granted }
                    }
                    return try await group.reduce(0, +)
                }
                #expect(granted == 70)
                func row() async throws -> [String] {
                    try await pool.query(
                        "SELECT concat_ws(' ', ctid, xmin, xmax, arrival_ns) FROM rate_leases WHERE limit_key = 'a'"
                    ).column(String.self)
                }
                let before = try await row()
                let none = try await store.take("a", wanted: 1, policy: policy)
                #expect(none.granted == 0 && none.remaining == 0 && none.resetNanoseconds > 980_000_000_000)
                // Neither written nor locked.
                #expect(try await row() == before)
                #expect(none.retryNanoseconds > 8_000_000_000 && none.retryNanoseconds <= 10_000_000_000)
                #expect(try await store.take("b", wanted: 1, policy: policy).granted == 1)
            }
        }
    }

    @Test(
        "gateways at twice the limit of a caller, on a real server, admit it within a hundredth and ask seldom",
        arguments: [1, 3, 10])
    func manyGateways(count: Int) async throws {
        try await TestDatabase.with { database in
            try await database.withPool { pool in
                let policy = GCRA(burst: 2_000, refillPerSecond: 1_000)
                let source = CountingSource(store: LeaseStore(pool: pool))
                let gateways = (0..<count).map { _ in SharedLimiter(policy: policy, source: source) }
                let clock = ContinuousClock()
                let began = clock.now
                var (admitted, requests) = (0, 0)
                var seconds = 0.0
                while seconds < 6 {
                    try await Task.sleep(for: .milliseconds(1))
                    seconds = Double((clock.now - began) / .microseconds(1)) / 1e6
                    // The burst is spent at once, then twice the rate is asked for.
                    while Double(requests) < 4_000 + seconds * 2_000 {
                        if gateways[requests % count].admit("caller").isAdmitted { admitted += 1 }
                        requests += 1
                    }
                }
                let allowed = 2_000 + seconds * 1_000
                let share = Double(admitted) / allowed
                // What gateways hold unspent, or have spent in advance, counts in so short a time.
                #expect(abs(share - 1) < 0.05, "\(admitted) of \(allowed)")
                #expect(Double(source.questions) < 0.05 * Double(requests), "\(source.questions) of \(requests)")
                print("\(count) gateways: \(share) of the limit, \(source.questions) questions, \(requests) requests")
            }
        }
    }

    @Test("two gateways share the limit of a caller, and a refusal says that it is global")
    func twoGateways() async throws {
        try await TestDatabase.with { database in
            try await database.withPool { pool in
                let policy = GCRA(burst: 200, refillPerSecond: 1)
                let gateways = (0..<2).map { _ in SharedLimiter(policy: policy, source: LeaseStore(pool: pool)) }
                #expect(gateways[0].scope == "global")
                var admitted = 0
                for index in 0..<3_000 {
                    if gateways[index % 2].admit("caller").isAdmitted { admitted += 1 }
                    if index % 10 == 0 { try await Task.sleep(for: .milliseconds(1)) }
                }
                #expect((190...210).contains(admitted), "\(admitted)")
            }
        }
    }
}
