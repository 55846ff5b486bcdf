import Engine
import Model
import Postgres
import TestSupport
import Testing

@testable import AnomalyPropagation

@Suite("From findings to anomalies and forecasts")
struct FindingsReaderTests {
    static let node = Fixture.node("front")

    private func drain(_ reader: FindingsReader) async throws {
        while try await reader.round() {}
        try await reader.saveUnsaved()
    }

    @Test("three buckets beyond the level open an episode, three below close it")
    func episode() async throws {
        try await Fixture.with { fixture in
            try await fixture.add([Self.node])
            for minute in 1...10 as ClosedRange<Int64> {
                // Not a residual: those close after an hour.
                var finding = Fixture.residual(Self.node, minute: minute, statistic: Double(minute) + 3)
                finding.kind = .correlationBreak
                try await fixture.evaluate(
                    event: "front", windowEnd: Fixture.minute(minute),
                    findings: (2...5).contains(minute) ? [finding] : [])
            }
            let reader = FindingsReader(pool: fixture.pool)
            try await self.drain(reader)
            let anomalies = try await AnomalyStore(pool: fixture.pool).list(AnomalyFilter(), after: nil, limit: 10)
            let anomaly = try #require(anomalies.first)
            #expect(anomalies.count == 1)
            #expect(anomaly.startedAt == Fixture.minute(2))
            #expect(anomaly.openedAt == Fixture.minute(4))
            #expect(anomaly.closedAt == Fixture.minute(5))
            #expect(anomaly.peakStatistic == 8)
            #expect(anomaly.severity == .critical)
            #expect(anomaly.values == ["score": 8])
            #expect(anomaly.node == Self.node)
            #expect(anomaly.target == nil)
        }
    }

    @Test("a replica that stops anywhere and one that starts there give the same rows as one that never stopped")
    func interrupted() async throws {
        var expected: [Anomaly]?
        for stops in [[Int64](), [3], [2, 4, 5, 8]] {
            try await Fixture.with { fixture in
                try await fixture.add([Self.node])
                var reader = FindingsReader(pool: fixture.pool)
                for minute in 1...10 as ClosedRange<Int64> {
                    let beyond = (2...5).contains(minute)
                    try await fixture.evaluate(
                        event: "front", windowEnd: Fixture.minute(minute),
                        findings: beyond ? [Fixture.residual(Self.node, minute: minute)] : [])
                    if stops.contains(minute) {
                        while try await reader.round() {}
                        // Killed: what was not saved is gone with it.
                        if minute != 4 { try await reader.saveUnsaved() }
                        reader = FindingsReader(pool: fixture.pool)
                    }
                }
                // A second replica does the same work at the same time.
                let twin = FindingsReader(pool: fixture.pool)
                async let first: Void = self.drain(reader)
                async let second: Void = self.drain(twin)
                _ = try await (first, second)
                let anomalies = try await AnomalyStore(pool: fixture.pool).list(AnomalyFilter(), after: nil, limit: 10)
                #expect(anomalies.count == 1)
                #expect(expected == nil || expected == anomalies)
                expected = anomalies
                #expect(try await fixture.count("reader_positions", where: "revision = 10") == 1)
            }
        }
    }

    @Test("a move makes a forecast, and its outcome is read once the domain has passed the horizon")
    func forecast() async throws {
        try await Fixture.with { fixture in
            let (source, target) = (Fixture.node("front"), Fixture.node("back"))
            try await fixture.add([source])
            // The target stands at 10 and goes to 13 in the second bucket after the move.
            try await fixture.add(
                (-5...12).map {
                    Observation(
                        node: target, time: Fixture.minute($0).advanced(byMilliseconds: 30_000), value: $0 < 4 ? 10 : 13
                    )
                })
            let edge = Fixture.edge(source, target)
            let reader = FindingsReader(pool: fixture.pool)
            try await fixture.evaluate(
                event: "front", windowEnd: Fixture.minute(3),
                findings: [Fixture.move(source, minute: 3, by: 2, edges: [edge])])
            try await self.drain(reader)
            let store = ForecastStore(pool: fixture.pool)
            let open = try #require(
                try await store.overview(ForecastFilter(scored: false), after: nil, limit: 5).forecasts.first)
            #expect(open.forecast.expectedChange == 4)
            #expect(open.forecast.horizonAt == Fixture.minute(5))
            #expect(open.outcome == nil)

            try await fixture.evaluate(event: "front", windowEnd: Fixture.minute(4))
            try await self.drain(reader)
            #expect(try await store.overview(ForecastFilter(scored: true), after: nil, limit: 5).forecasts.isEmpty)

            try await fixture.evaluate(event: "front", windowEnd: Fixture.minute(5))
            try await self.drain(reader)
            let scored = try #require(
                try await store.overview(ForecastFilter(scored: true), after: nil, limit: 5).forecasts.first)
            #expect(scored.outcome == 3)
            #expect(scored.signHit == true)
            #expect(scored.covered == nil)
            #expect(scored.forecast == open.forecast)
            let tally = try await store.overview(ForecastFilter(event: "front"), after: nil, limit: 1).tally
            #expect(tally.forecasts == 1)
            #expect(tally.scored == 1)
            #expect(tally.signHits == 1)
            #expect(tally.withInterval == 0)
        }
    }

    @Test("after twenty scored moves of a pair its forecasts carry an interval, also across a restart")
    func intervals() async throws {
        var expected: [StoredForecast]?
        for restarts in [false, true] {
            try await Fixture.with { fixture in
                let (source, target) = (Fixture.node("front"), Fixture.node("back"))
                try await fixture.add([source])
                // Every tenth minute the target jumps by 2 +- up to 0.5, in the bucket after the move.
                var level = 100.0
                var observations: [Observation] = []
                for minute in 0..<300 as Range<Int64> {
                    if minute % 10 == 1 { level += 2 + Double(minute % 7) / 7 - 0.5 }
                    observations.append(
                        Observation(
                            node: target, time: Fixture.minute(minute).advanced(byMilliseconds: 1), value: level))
                }
                try await fixture.add(observations)
                var reader = FindingsReader(pool: fixture.pool)
                let edge = Fixture.edge(source, target)
                for minute in 1...300 as ClosedRange<Int64> where minute % 5 == 0 {
                    let moves = minute % 10 == 0 ? [Fixture.move(source, minute: minute, by: 1, edges: [edge])] : []
                    try await fixture.evaluate(event: "front", windowEnd: Fixture.minute(minute), findings: moves)
                    if restarts, minute == 115 || minute == 230 {
                        try await self.drain(reader)
                        reader = FindingsReader(pool: fixture.pool)
                    }
                }
                try await self.drain(reader)
                let all = try await ForecastStore(pool: fixture.pool).overview(
                    ForecastFilter(), after: nil, limit: 100
                ).forecasts
                #expect(all.count == 30)
                let newest = try await ForecastStore(pool: fixture.pool).overview(
                    ForecastFilter(), after: nil, limit: 1, tallyLimit: 7
                ).tally
                #expect(newest.forecasts == 7)
                #expect(all.filter { $0.forecast.intervalLow != nil }.count == 10)
                #expect(all.filter { $0.covered == true }.count >= 6)
                let plain = all.map {
                    StoredForecast(
                        forecast: $0.forecast, scoredAt: nil, outcome: $0.outcome, covered: $0.covered,
                        signHit: $0.signHit, baseRate: $0.baseRate)
                }
                #expect(expected == nil || expected == plain)
                expected = plain
            }
        }
    }

    /// Seen to fail: with forecasts that wait kept in memory only.
    @Test("forecasts that wait for another domain are the same across a restart, and are made without a further move")
    func waiting() async throws {
        var expected: [StoredForecast]?
        for restarts in [false, true] {
            try await Fixture.with { fixture in
                let (source, target) = (Fixture.node("front"), Fixture.node("back", domain: "database"))
                let edge = Fixture.edge(source, target)
                try await fixture.add([source])
                try await fixture.add(
                    (0..<200).map {
                        Observation(
                            node: target, time: Fixture.minute($0).advanced(byMilliseconds: -1),
                            value: Double($0 * $0 % 7))
                    })
                var reader = FindingsReader(pool: fixture.pool)
                for number in 0..<30 as Range<Int64> {
                    let move = Fixture.move(source, minute: 3 * number, by: 1, edges: [edge])
                    try await fixture.evaluate(event: "front", windowEnd: move.windowEnd, findings: [move])
                    while try await reader.round() {}
                }
                if restarts {
                    try await reader.saveUnsaved()
                    reader = FindingsReader(pool: fixture.pool)
                }
                for minute in [20, 100] as [Int64] {
                    try await fixture.evaluate(event: "back", domain: "database", windowEnd: Fixture.minute(minute))
                    while try await reader.round() {}
                    if restarts { reader = FindingsReader(pool: fixture.pool) }
                }
                try await self.drain(reader)
                let forecasts = try await ForecastStore(pool: fixture.pool)
                    .overview(ForecastFilter(), after: nil, limit: 100).forecasts
                #expect(forecasts.count == 30)
                #expect(forecasts.filter { $0.forecast.intervalLow != nil }.count == 10)
                // By the reader that is furthest behind retention decides what is kept.
                let behind = try await fixture.pool.query(
                    "SELECT min(p.revision) < l.revision FROM reader_positions p JOIN shard_leases l USING (shard) GROUP BY l.shard"
                ).column(Bool.self)
                #expect(!behind.isEmpty && !behind.contains(true))
                let found = forecasts.map { forecast in
                    StoredForecast(
                        forecast: forecast.forecast, scoredAt: nil, outcome: forecast.outcome,
                        covered: forecast.covered,
                        signHit: forecast.signHit, baseRate: forecast.baseRate)
                }
                let isSame = expected.map { $0 == found } ?? true
                #expect(isSame)
                expected = found
            }
        }
    }

    @Test("a forecast whose replica died is scored by another")
    func sweep() async throws {
        try await Fixture.with { fixture in
            let (source, target) = (Fixture.node("front"), Fixture.node("back"))
            try await fixture.add([source])
            try await fixture.add([
                Observation(node: target, time: Fixture.minute(1), value: 10),
                Observation(node: target, time: Fixture.minute(4), value: 9),
            ])
            let forecast = Forecast(
                event: "front", source: source, target: target, movedAt: Fixture.minute(3),
                horizonAt: Fixture.minute(5), latencyMs: 60_000, move: 1, sourceSd: 1, beta: 2, halfWidth: 4,
                confidence: 0.9)
            let unknown = Forecast(
                event: "front", source: source, target: Fixture.node("silent"), movedAt: Fixture.minute(3),
                horizonAt: Fixture.minute(5), latencyMs: 60_000, move: 1, sourceSd: 1, beta: 2, halfWidth: nil,
                confidence: 0.9)
            try await fixture.add([Fixture.node("silent")])
            _ = try await fixture.pool.withConnection {
                try await $0.pipeline([ForecastStore.insert([forecast, unknown]), ForecastStore.insert([forecast])])
            }
            try await fixture.evaluate(event: "other", windowEnd: Fixture.minute(6))
            try await self.drain(FindingsReader(pool: fixture.pool))
            let rows = try await ForecastStore(pool: fixture.pool).overview(
                ForecastFilter(), after: nil, limit: 5
            ).forecasts
            #expect(rows.count == 2)
            let scored = try #require(rows.first { $0.forecast.target == target })
            #expect(scored.outcome == -1)
            #expect(scored.covered == true)
            #expect(scored.signHit == false)
            let lost = try #require(rows.first { $0.forecast.target != target })
            #expect(lost.scoredAt != nil)
            #expect(lost.outcome == nil)
        }
    }

    @Test("ten thousand evaluations are taken in within a minute")
    func speed() async throws {
        try await Fixture.with { fixture in
            let nodes = (0..<64).map { Fixture.node("event-\($0)") }
            try await fixture.add(nodes)
            try await fixture.pool.query(
                """
                INSERT INTO evaluations (shard, domain, window_end, bucket_ms, revision, duration_us)
                SELECT shard, 'service', to_timestamp(1735689600 + 60 * minute), 60000, minute, 5
                FROM generate_series(0, 63) AS shard, generate_series(1, 160) AS minute
                """)
            try await fixture.pool.query("UPDATE shard_leases SET revision = 160")
            let clock = ContinuousClock()
            let took = try await clock.measure { try await self.drain(FindingsReader(pool: fixture.pool)) }
            #expect(took < .seconds(60))
            #expect(try await fixture.count("reader_positions", where: "revision = 160") == 64)
        }
    }
}
