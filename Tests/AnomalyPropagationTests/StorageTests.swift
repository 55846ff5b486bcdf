import Engine
import Model
import Postgres
import Synchronization
import TestSupport
import Testing

@testable import AnomalyPropagation

@Suite("Statements of anomaly-propagation")
struct StorageTests {
    static func anomaly(
        _ id: String, event: String = "front", minute: Int64, kind: FindingKind = .nodeResidual, target: NodeKey? = nil,
        severity: Severity = .high, peak: Double = 5, closedAt: Timestamp? = nil
    ) -> Anomaly {
        Anomaly(
            id: id, kind: kind, event: event, node: Fixture.node(event), target: target,
            layer: target.map { Layer(of: Fixture.node(event), and: $0) }, startedAt: Fixture.minute(minute - 2),
            openedAt: Fixture.minute(minute), closedAt: closedAt, severity: severity, peakStatistic: peak, level: 4,
            values: ["peak": peak], reason: "peak \(peak)")
    }

    @Test("an episode only gains: a higher peak and an end, whatever the order of writers")
    func merges() async throws {
        try await Fixture.with { fixture in
            try await fixture.add([Fixture.node("front")])
            let store = AnomalyStore(pool: fixture.pool)
            let low = Self.anomaly("a1", minute: 5, severity: .low, peak: 4.5)
            let high = Self.anomaly("a1", minute: 5, severity: .critical, peak: -9)
            let closed = Self.anomaly("a1", minute: 5, severity: .high, peak: 6, closedAt: Fixture.minute(9))
            let reopened = Self.anomaly("a1", minute: 5, severity: .high, peak: 11)
            for state in [low, high, closed, reopened] {
                _ = try await fixture.pool.withConnection { try await $0.pipeline([AnomalyStore.merge([state])]) }
            }
            var expected = reopened
            expected.closedAt = Fixture.minute(9)
            #expect(try await store.anomaly(id: "a1") == expected)
            #expect(try await store.anomaly(id: "a2") == nil)
        }
    }

    @Test("anomalies are listed newest first, by every filter, page by page without gap or repetition")
    func listsAnomalies() async throws {
        try await Fixture.with { fixture in
            let target = Fixture.node("back", "errors")
            try await fixture.add([Fixture.node("front"), Fixture.node("back"), target])
            let all = [
                Self.anomaly("a5", minute: 9), Self.anomaly("a4", minute: 8, severity: .low),
                Self.anomaly("a2", event: "back", minute: 7), Self.anomaly("a3", minute: 7),
                Self.anomaly("a1", minute: 6, kind: .correlationBreak, target: target),
            ]
            _ = try await fixture.pool.withConnection { try await $0.pipeline([AnomalyStore.merge(all)]) }
            let store = AnomalyStore(pool: fixture.pool)
            var pages: [Anomaly] = []
            var end: PageEnd?
            repeat {
                let page = try await store.list(AnomalyFilter(), after: end, limit: 2)
                pages += page
                end = page.last.map { PageEnd(time: $0.openedAt, id: $0.id) }
            } while end != nil
            #expect(pages == all)
            func ids(_ filter: AnomalyFilter) async throws -> [String] {
                try await store.list(filter, after: nil, limit: 10).map(\.id)
            }
            #expect(try await ids(AnomalyFilter(event: "back")) == ["a2"])
            #expect(try await ids(AnomalyFilter(layer: .crossEvent)) == ["a1"])
            #expect(try await ids(AnomalyFilter(kind: .correlationBreak)) == ["a1"])
            #expect(try await ids(AnomalyFilter(severity: .low)) == ["a4"])
            #expect(try await ids(AnomalyFilter(since: Fixture.minute(8))) == ["a5", "a4"])
            let every = AnomalyFilter(
                event: "front", layer: .crossEvent, kind: .correlationBreak, severity: .high, since: Fixture.minute(6))
            #expect(
                try await store.list(every, after: PageEnd(time: Fixture.minute(9), id: "x"), limit: 3).map(\.id) == [
                    "a1"
                ])
        }
    }

    @Test("values at a time are those before it, held back to the look-back, their mean at one millisecond")
    func readings() async throws {
        try await Fixture.with { fixture in
            let node = Fixture.node("front")
            try await fixture.add([
                Observation(node: node, time: Fixture.minute(1), value: 4),
                Observation(node: node, time: Fixture.minute(1), value: 6),
                Observation(node: node, time: Fixture.minute(2), value: 9),
            ])
            func reading(_ minute: Int64, _ fill: DomainProfile.Fill = .last, lookback: Int64 = 600_000)
                -> ObservationStore.Reading
            {
                .init(node: node, at: Fixture.minute(minute), lookbackMs: lookback, fill: fill, bucketMs: 60_000)
            }
            let values = try await ObservationStore(pool: fixture.pool).values([
                reading(1), reading(2), reading(3), reading(9), reading(9, lookback: 60_000), reading(2, .mean),
                reading(2, .sum), reading(5, .sum),
            ])
            #expect(values == [nil, 5, 9, 9, nil, 5, 10, nil])
        }
    }

    @Test("levels on a clock hold the last value of each bucket, nothing before the first")
    func levels() async throws {
        try await Fixture.with { fixture in
            let node = Fixture.node("front")
            try await fixture.add(
                [(61_000, 1.0), (70_000, 2), (200_000, 5)].map {
                    Observation(node: node, time: Fixture.minute(0).advanced(byMilliseconds: $0.0), value: $0.1)
                })
            let levels = try await ObservationStore(pool: fixture.pool).levels([
                .init(node: node, end: Fixture.minute(5), bucketMs: 60_000, length: 5),
                .init(node: Fixture.node("none"), end: Fixture.minute(5), bucketMs: 60_000, length: 2),
            ])
            #expect(levels[0].dropFirst() == [2, 2, 5, 5])
            #expect(levels[0][0].isNaN)
            #expect(!levels[1].contains { !$0.isNaN })
        }
    }

    @Test("streaming takes the nodes of the domains asked for, in the period, and stops at its limit")
    func streams() async throws {
        try await Fixture.with { fixture in
            let odd = "it's a \"domain\" é"
            let inside = Fixture.node("front", domain: odd)
            try await fixture.add(
                [inside, Fixture.node("front", domain: "other")].flatMap { node in
                    (0..<4).map { Observation(node: node, time: Fixture.minute($0), value: Double($0)) }
                })
            let store = ObservationStore(pool: fixture.pool)
            let seen = Seen()
            let rows = try await store.stream(
                domains: [odd], from: Fixture.minute(1), to: Fixture.minute(3), limit: 2
            ) { node, time, value in seen.add("\(node == inside.id) \(time.rfc3339) \(value)") }
            #expect(rows == 2)
            #expect(seen.all.sorted() == ["true 2025-01-01T00:01:00.000Z 1.0", "true 2025-01-01T00:02:00.000Z 2.0"])
            await #expect(throws: PostgresError.self) {
                _ = try await store.stream(
                    domains: [odd, "other"], from: Fixture.minute(0), to: Fixture.minute(9), limit: 2
                ) { _, _, _ in }
            }
        }
    }

    @Test("a topology is replaced whole; an empty one is gone")
    func topology() async throws {
        try await Fixture.with { fixture in
            let store = TopologyStore(pool: fixture.pool)
            let calls = [CallEdge(caller: "a", callee: "b"), CallEdge(caller: "b", callee: "c")]
            try await store.replace("shop", with: calls)
            try await store.replace("other", with: [calls[0]])
            #expect(try await store.calls(of: "shop") == calls)
            try await store.replace("shop", with: [CallEdge(caller: "a", callee: "c")])
            #expect(try await store.calls(of: "shop") == [CallEdge(caller: "a", callee: "c")])
            #expect(try await store.names().map(\.name) == ["other", "shop"])
            try await store.replace("shop", with: [])
            #expect(try await store.names().map(\.name) == ["other"])
        }
    }

    @Test("revisions are read whole, a bounded number of evaluations at a time")
    func spans() async throws {
        try await Fixture.with { fixture in
            for minute in 1...6 as ClosedRange<Int64> {
                try await fixture.evaluate(event: "front", windowEnd: Fixture.minute(minute))
            }
            let shard = Shard(event: "front")
            let store = FindingStore(pool: fixture.pool)
            #expect(try await store.revisions()[shard] == 6)
            let spans = try await store.bounded([RevisionSpan(shard: shard, low: 1, high: 6)], limit: 3)
            #expect(spans == [RevisionSpan(shard: shard, low: 1, high: 4)])
            let (buckets, findings) = try await store.read(spans)
            #expect(buckets.map(\.windowEnd) == (2...4).map { Fixture.minute($0) })
            #expect(findings.isEmpty)
            #expect(try await store.bounded([RevisionSpan(shard: shard, low: 4, high: 6)], limit: 3).first?.high == 6)
            #expect(try await store.watermarks() == ["service": Fixture.minute(6)])
            #expect(
                try await DomainStore(pool: fixture.pool).bucketWidths(of: ["service", "x"]) == ["service": 60_000])
        }
    }

    @Test("a position only moves forward")
    func positions() async throws {
        try await Fixture.with { fixture in
            let store = ReaderPositionStore(pool: fixture.pool)
            let shard = Shard(event: "front")
            for revision in [5, 9, 7] as [Int64] {
                _ = try await fixture.pool.withConnection {
                    try await $0.pipeline([
                        ReaderPositionStore.save([.init(shard: shard, revision: revision, state: [UInt8(revision)])])
                    ])
                }
            }
            #expect(try await store.positions() == [.init(shard: shard, revision: 9, state: [9])])
        }
    }

    @Test("the edges in force come back as they were stored")
    func edges() async throws {
        try await Fixture.with { fixture in
            let edges = [
                Fixture.edge(Fixture.node("a"), Fixture.node("b")),
                Fixture.edge(Fixture.node("a"), Fixture.node("a", "errors"), score: -0.7, lagBuckets: 0),
            ]
            try await fixture.add(edges: edges)
            let store = EdgeStore(pool: fixture.pool)
            let read = try await store.current(inShards: Shard.all, limit: 10)
            #expect(read.map(\.edge) == edges)
            try await fixture.pool.query("UPDATE multi_layer_correlations SET superseded_at = now() WHERE layer = 3")
            #expect(try await store.current(inShards: Shard.all, limit: 10).map(\.edge) == [edges[1]])
        }
    }
}

/// Collects lines from another thread.
final class Seen: Sendable {
    private let lines = Mutex<[String]>([])
    func add(_ line: String) { self.lines.withLock { $0.append(line) } }
    var all: [String] { self.lines.withLock { $0 } }
}
