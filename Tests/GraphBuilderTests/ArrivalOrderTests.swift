import Engine
import Model
import Postgres
import TestSupport
import Testing

@testable import GraphBuilder

@Suite("Arrival order and restarts")
struct ArrivalOrderTests {
    static func profile(_ domain: String, bucketMs: Int64 = 60_000) -> DomainProfile {
        DomainProfile(
            domain: domain, bucketMs: bucketMs, presentBuckets: 40, baselineBuckets: 120, lagBuckets: 2,
            allowedLatenessMs: bucketMs)
    }

    /// Two venues of one instrument that trade at random times, the second some seconds after the first.
    static func trades(domain: String, from start: Int64 = 0, minutes: Int) -> [Observation] {
        var generator = SeededGenerator(seed: 77)
        // A random walk in steps of ten seconds, seen late by the second venue.
        var walk = [100.0]
        for step in 1...minutes * 6 + 6 { walk.append(walk[step - 1] + Feed.noise(UInt64(step) &+ 5)) }
        var observations: [Observation] = []
        for (venue, delayMs) in [("first", Int64(0)), ("second", 30_000)] {
            let node = NodeKey(domain: domain, event: "coin", market: "last", venue: venue)
            var time: Int64 = 0
            while time < Int64(minutes) * 60_000 {
                time += Int64.random(in: 1_000...40_000, using: &generator)
                let value = walk[Int(max(0, time - delayMs) / 10_000)]
                observations.append(
                    Observation(node: node, time: Timestamp(milliseconds: start + time), value: value))
            }
        }
        return observations.sorted { ($0.time, $0.node) < ($1.time, $1.node) }
    }

    static func edges(in pool: PostgresPool) async throws -> [String] {
        try await pool.query(
            """
            SELECT c.event_id || ' ' || c.source_node || ' ' || c.target_node || ' ' || c.estimator || ' ' || c.correlation_score
            FROM multi_layer_correlations c WHERE superseded_at IS NULL
            """
        ).column(String.self).sorted()
    }

    struct Outcome: Equatable {
        var ids: [String: String]
        var edges: [String]
    }

    /// Stores and works batch by batch; `restartsAfter` names batches after which another replica takes over, `purgedUnread` those
    /// whose rows of the log are gone before anyone looks.
    static func outcome(
        _ batches: [[Observation]], profiles: [DomainProfile], restartsAfter: Set<Int> = [], isClean: Bool = true,
        graphInterval: Duration = .seconds(1), purgedUnread: Set<Int> = []
    ) async throws -> Outcome {
        try await TestDatabase.with { database in
            try await database.withPool { pool in
                for profile in profiles { try await Feed.declare(profile, in: pool) }
                var replica = Replica(pool, name: "0", partnerWait: .zero, graphInterval: graphInterval)
                for (index, batch) in batches.enumerated() {
                    try await Feed.store(batch, in: pool)
                    if purgedUnread.contains(index) {
                        // Of any age: the bound is a second from now.
                        try await pool.query(RetentionStatements.purgeLog, [.int64(-1), .int(1_000)])
                    }
                    try await replica.work()
                    guard restartsAfter.contains(index) else { continue }
                    if isClean { try await replica.engine.storeStates() }
                    try await Feed.endLeases(in: pool)
                    replica = Replica(pool, name: "\(index + 1)", partnerWait: .zero)
                    try await replica.work()
                }
                while try await replica.engine.status().contains(where: { $0.waitingBuckets > 0 }) {
                    try await Task.sleep(for: .milliseconds(100))
                    try await replica.work()
                }
                return Outcome(ids: try await Feed.graphIDs(in: pool), edges: try await Self.edges(in: pool))
            }
        }
    }

    static func pieces(_ observations: [Observation], _ count: Int) -> [[Observation]] {
        let size = (observations.count + count - 1) / count
        return stride(from: 0, to: observations.count, by: size).map {
            Array(observations[$0..<min(observations.count, $0 + size)])
        }
    }

    @Test("tick edges between their window ends are the same after a clean stop, a crash and an undisturbed run")
    func ticksSurviveRestarts() async throws {
        // 257 closed minutes are no multiple of the ten buckets at which tick estimates are made.
        let batches = Self.pieces(Self.trades(domain: "coins", minutes: 259), 5)
        let profiles = [Self.profile("coins")]
        let whole = try await Self.outcome([batches.flatMap { $0 }], profiles: profiles)
        #expect(whole.edges.contains { $0.contains("hayashiYoshida") })
        #expect(try await Self.outcome(batches, profiles: profiles) == whole)
        #expect(try await Self.outcome(batches, profiles: profiles, restartsAfter: [1, 3, 4]) == whole)
        #expect(
            try await Self.outcome(batches, profiles: profiles, restartsAfter: [0, 2, 4], isClean: false) == whole)
    }

    @Test("a domain that arrives after the one it is compared with changes its graphs to what they would have been")
    func domainsInAnyOrder() async throws {
        // On a fast clock: two buckets are what a partner that may still deliver is waited for.
        let first = Feed.observations(domain: "a", events: ["alpha", "beta"], count: 200, stepMs: 100)
        let second = Feed.observations(domain: "b", events: ["gamma"], count: 200, stepMs: 100)
        let third = Feed.observations(domain: "c", events: ["delta"], count: 45, stepMs: 500)
        let profiles = [
            Self.profile("a", bucketMs: 100), Self.profile("b", bucketMs: 100), Self.profile("c", bucketMs: 500),
        ]
        let whole = try await Self.outcome([first + second + third], profiles: profiles)
        #expect(whole.ids.count == 4)
        // Seen from the event of either end.
        #expect(whole.edges.contains { $0.hasPrefix("alpha") } && whole.edges.contains { $0.hasPrefix("gamma") })
        for order in [[first, second, third], [third, second, first], [second, third, first]] {
            #expect(try await Self.outcome(order, profiles: profiles) == whole)
        }
        let mixed = zip(Self.pieces(second, 7), Self.pieces(third, 7)).flatMap { [$0, $1] } + Self.pieces(first, 3)
        #expect(try await Self.outcome(mixed, profiles: profiles) == whole)
        #expect(try await Self.outcome(mixed, profiles: profiles, restartsAfter: [4, 9, 15, 16]) == whole)
    }

    @Test("data that come after their bucket was closed bring every graph to what it would have been")
    func lateData() async throws {
        let all = Feed.observations(domain: "a", events: ["alpha", "beta", "gamma"], count: 200, stepMs: 100)
        let other = Feed.observations(domain: "b", events: ["delta"], count: 200, stepMs: 100)
        let profiles = [Self.profile("a", bucketMs: 100), Self.profile("b", bucketMs: 100)]
        let whole = try await Self.outcome([all + other], profiles: profiles)
        #expect(whole.ids.count == 4)
        // One node after the other, each with its whole history; the last but one ends earlier than the rest.
        let byNode = ["beta", "gamma", "alpha"].map { event in all.filter { $0.node.event == event } }
        #expect(try await Self.outcome(byNode + [other], profiles: profiles) == whole)
        #expect(try await Self.outcome([other] + byNode.reversed(), profiles: profiles) == whole)
        // Every seventh observation comes in the end, some of them older than any window.
        let late = all.enumerated().filter { $0.offset % 7 == 3 }.map(\.element)
        let early = all.enumerated().filter { $0.offset % 7 != 3 }.map(\.element)
        #expect(try await Self.outcome([early, other, late], profiles: profiles) == whole)
        #expect(try await Self.outcome([early + other, late], profiles: profiles, restartsAfter: [0]) == whole)
    }

    /// Seen to fail: with `hasMissedRows` always false the late data, or the new nodes, are never looked at.
    @Test("rows of the log that were purged before they were read are missed by nobody")
    func purgedLog() async throws {
        let all = Feed.observations(domain: "a", events: ["alpha", "beta", "gamma"], count: 200, stepMs: 100)
        let profiles = [Self.profile("a", bucketMs: 100)]
        let whole = try await Self.outcome([all], profiles: profiles)
        #expect(whole.ids.count == 3)
        let late = all.enumerated().filter { $0.offset % 7 == 3 }.map(\.element)
        let early = all.enumerated().filter { $0.offset % 7 != 3 }.map(\.element)
        #expect(try await Self.outcome([early, late], profiles: profiles, purgedUnread: [1]) == whole)
        let newNode = all.filter { $0.node.event == "gamma" }
        let others = all.filter { $0.node.event != "gamma" }
        #expect(try await Self.outcome([others, newNode], profiles: profiles, purgedUnread: [1]) == whole)
        // Twice, with rows in between that were read.
        #expect(try await Self.outcome(Self.pieces(all, 4), profiles: profiles, purgedUnread: [1, 3]) == whole)
    }

    @Test("what detectors have learnt under a declared profile is taken up again after a clean stop")
    func learntStates() async throws {
        try await TestDatabase.with { database in
            try await database.withPool { pool in
                try await Feed.declare(Self.profile("a"), in: pool)
                try await Feed.store(Feed.observations(domain: "a", events: ["alpha"], count: 400), in: pool)
                let first = Replica(pool, name: "first")
                try await first.work()
                try await first.engine.storeStates()
                try await pool.query("UPDATE shard_leases SET expires_at = '-infinity'")
                let second = Replica(pool, name: "second")
                try await second.work()
                // The last window and no bucket before it: nothing is learnt a second time.
                let base = await second.engine.cache.domains["a"]?.window?.base ?? 0
                #expect(base > 0)
                #expect(await second.engine.parts["alpha"]?["a"]?.bucket == 397)
            }
        }
    }

    @Test("data from before a window change what a node comes into it with")
    func olderThanTheWindow() async throws {
        let alpha = Feed.observations(domain: "a", events: ["alpha"], count: 500, stepMs: 100)
        let old = alpha.filter { $0.time.milliseconds < 6_000 }
        let long =
            alpha.filter { $0.time.milliseconds >= 42_000 }
            + Feed.observations(domain: "a", events: ["beta", "gamma"], count: 500, stepMs: 100)
        let profiles = [Self.profile("a", bucketMs: 100)]
        let whole = try await Self.outcome([old + long], profiles: profiles)
        // After the restart only the end is in memory, and what is old changes no bucket of it.
        #expect(try await Self.outcome([long, old], profiles: profiles, restartsAfter: [0]) == whole)
        #expect(try await Self.outcome([long, old], profiles: profiles, restartsAfter: [0, 1]) == whole)
    }

    @Test("a graph that is written long after its window has left memory has the id it would have had at once")
    func writtenLate() async throws {
        let short = Feed.observations(domain: "a", events: ["alpha"], count: 60)
        let long = Feed.observations(domain: "a", events: ["beta"], count: 2_600)
        let profile = DomainProfile(
            domain: "a", bucketMs: 60_000, presentBuckets: 30, baselineBuckets: 0, lagBuckets: 0,
            allowedLatenessMs: 60_000)
        let all = (short + long).sorted { $0.time < $1.time }
        let cut = all.firstIndex { $0.time.milliseconds >= 64 * 60_000 } ?? 0
        let atOnce = try await Self.outcome([Array(all[..<cut]), Array(all[cut...])], profiles: [profile])
        let late = try await Self.outcome([all], profiles: [profile], graphInterval: .seconds(3_600))
        #expect(late == atOnce && late.ids.count == 2)
    }

    @Test("a partner that stopped is waited for only so long, then its layer says that it is late")
    func stoppedPartner() async throws {
        let whole = Feed.observations(domain: "a", events: ["alpha"], count: 60)
        // Ends two buckets before the last closed one of the other.
        let stopped = Feed.observations(domain: "b", events: ["gamma"], count: 57)
        try await TestDatabase.with { database in
            try await database.withPool { pool in
                for name in ["a", "b"] { try await Feed.declare(Self.profile(name, bucketMs: 1_000), in: pool) }
                let scaled = (whole + stopped).map {
                    Observation(
                        node: $0.node, time: Timestamp(milliseconds: $0.time.milliseconds / 60), value: $0.value)
                }
                try await Feed.store(scaled, in: pool)
                let replica = Replica(pool, name: "one", partnerWait: .milliseconds(100))
                try await replica.work()
                var status = try await replica.engine.status().first { $0.domain == "a" }
                #expect(status?.waitsFor == ["b"] && status?.pendingBuckets == 0)
                let waiting = status?.waitingBuckets ?? 0
                #expect(waiting > 0)
                // Two of the partner's buckets of one second and the setting later, one bucket after the other.
                for _ in 0..<waiting {
                    try await Task.sleep(for: .milliseconds(2_200))
                    try await replica.work()
                }
                status = try await replica.engine.status().first { $0.domain == "a" }
                #expect(status?.waitingBuckets == 0)
                let graph = try #require(replica.graphs.entry("alpha")?.graph)
                #expect(graph.windowEnd == Timestamp(milliseconds: 58_000))
                let report = try #require(graph.layers.first { $0.layer == .crossDomain })
                #expect(report.state == .degraded && report.reason?.contains("b") == true)
            }
        }
    }

    @Test("which window a tick estimate looks at follows from the bucket, whoever asks first and whatever is in memory")
    func tickWindows() throws {
        let trades = Self.trades(domain: "coins", minutes: 300)
        var domain = DomainSeries(name: "coins", profile: Self.profile("coins"))
        for node in Set(trades.map(\.node)) { domain.register(node, id: node.id, firstMs: 0, lastMs: 300 * 60_000) }
        func loaded(_ base: Int64, _ end: Int64) -> DomainSeries {
            var domain = domain
            domain.window = BucketWindow(base: base, capacity: 400, bucketMs: 60_000)
            for node in domain.nodes { domain.window?.appendNode(node.id) }
            let read = trades.filter { (base * 60_000..<end * 60_000).contains($0.time.milliseconds) }
            for (node, observations) in Dictionary(grouping: read, by: \.node) {
                let readings = observations.map { Reading(timeMs: $0.time.milliseconds, value: $0.value) }
                domain.put([NodeReadings(node: node.id, readings: readings.sorted())])
            }
            return domain
        }
        let fresh = try #require(
            TickReader(loaded(0, 300), bucket: 250).flatMap { $0.estimate("coin", known: nil) })
        #expect(fresh.edges.count == 1 && fresh.edges.first?.windowEnd == Timestamp(milliseconds: 251 * 60_000))
        // Another window in memory, asked between the ends, with and without something known.
        let shifted = loaded(250 - Int64(domain.neededBuckets), 263)
        for bucket in [Int64(253), 259] {
            let known = TickReader(shifted, bucket: bucket)?.estimate("coin", known: nil)
            #expect(known == fresh)
            #expect(TickReader(shifted, bucket: bucket)?.estimate("coin", known: fresh) == fresh)
        }
        let next = try #require(
            TickReader(shifted, bucket: 261).flatMap { $0.estimate("coin", known: fresh) })
        #expect(next.bucket == 260 && next.edges != fresh.edges)
        // A late reading in the window makes what is known worthless.
        var late = shifted
        late.put([
            NodeReadings(node: trades[0].node.id, readings: [Reading(timeMs: 249 * 60_000, value: 1)])
        ])
        #expect(TickReader(late, bucket: 253)?.estimate("coin", known: fresh)?.digest != fresh.digest)
    }

    @Test("a bucket's readings are thinned evenly, each bucket for itself, and the last one stays")
    func thinning() {
        let readings = (0..<1_000).map { Reading(timeMs: Int64($0), value: Double($0)) }
        let thinned = TickBuffer.thinned(readings) { $0 < 900 ? 0 : 1 + ($0 - 900) / 50 }
        #expect(thinned.count == 64 + 50 + 50)
        #expect(thinned[63].timeMs == 899 && thinned.suffix(100).map(\.timeMs) == Array(900..<1_000))
        let gaps = zip(thinned[1..<64], thinned).map { $0.timeMs - $1.timeMs }
        #expect(gaps.allSatisfy { (14...15).contains($0) })
        // A part that starts at a bucket's edge is thinned as the whole was.
        #expect(TickBuffer.thinned(Array(readings[900...])) { 1 + ($0 - 900) / 50 } == Array(thinned.suffix(100)))
    }

    @Test("times are irregular when most gaps differ from the median one, whatever stands twice", arguments: 0..<40)
    func irregular(seed: Int) {
        var generator = SeededGenerator(seed: UInt64(seed))
        let count = Int.random(in: 0...60, using: &generator)
        let jitter = Int64(seed % 8)
        let times = (0..<count).map {
            Int64($0 / (1 + seed % 2)) * 20 + Int64.random(in: 0...jitter, using: &generator)
        }
        let readings = times.sorted().map { Reading(timeMs: $0, value: 1) }
        let gaps = zip(readings.dropFirst(), readings).map { $0.timeMs - $1.timeMs }.filter { $0 > 0 }.sorted()
        let median = gaps.isEmpty ? 0 : gaps[gaps.count / 2]
        let isIrregular = gaps.count >= 20 && gaps.count { abs($0 - median) * 10 > median } * 2 > gaps.count
        #expect(TickBuffer.isIrregular(readings[...]) == isIrregular)
    }

    @Test("readings in order are merged as those out of order are", arguments: 0..<20)
    func merged(seed: Int) {
        var generator = SeededGenerator(seed: UInt64(seed))
        let readings = (0..<50).map { _ in
            Reading(
                timeMs: Int64.random(in: 0...20, using: &generator),
                value: Double(Int.random(in: 0...3, using: &generator)))
        }
        var expected: [Reading] = []
        for (timeMs, same) in Dictionary(grouping: Set(readings), by: \.timeMs).sorted(by: { $0.key < $1.key }) {
            let values = same.map(\.value).sorted()
            expected.append(Reading(timeMs: timeMs, value: values.reduce(0, +) / Double(values.count)))
        }
        #expect(Reading.merged(readings) == expected)
        #expect(Reading.merged(readings.sorted()) == expected)
    }
}
