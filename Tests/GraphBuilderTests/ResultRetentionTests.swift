import Engine
import Model
import Postgres
import TestSupport
import Testing

@testable import GraphBuilder

extension RetentionTests {
    private static let node = NodeKey(domain: "d", event: "d-0", market: "m", venue: "v")

    /// What ``ForecastCalibrator`` is made from after a restart.
    private struct Taught: Equatable {
        var sum: Double
        var newest: [Double]
    }

    private static func taught(_ pool: PostgresPool) async throws -> Taught {
        let sums = try await pool.query(
            "SELECT count(covered) * 0.2::float8 - count(*) FILTER (WHERE NOT covered) FROM forecasts"
        ).column(Double.self)
        let newest = try await pool.query(
            "SELECT outcome FROM forecasts WHERE outcome IS NOT NULL ORDER BY horizon_at DESC LIMIT 100"
        ).column(Double.self)
        return Taught(sum: (try #require(sums.first) * 1_000).rounded(), newest: newest)
    }

    @Test(
        "ended versions of edges, closed anomalies and scored forecasts go with their days; what is open or present stays"
    )
    func results() async throws {
        try await Self.with { pool, partitions, retention in
            try await Self.store(Self.observations("d", days: 99...100), pool, partitions)
            let shard = Shard(event: "d-0")
            try await pool.query(
                """
                INSERT INTO anomalies (shard, id, kind, event_id, node_id, started_at, opened_at, closed_at, severity,
                    peak_statistic, level, values, reason)
                SELECT $1, day || '', 'nodeResidual', 'd-0', 1, to_timestamp(86400 * (day - 2)), to_timestamp(86400 * (day - 1)),
                    CASE WHEN day > 82 THEN to_timestamp(86400 * day) END, 'LOW', 1, 1, '[]', ''
                FROM generate_series(80, 100) day
                """, [.shard(shard)])
            try await pool.query(
                """
                INSERT INTO multi_layer_correlations (shard, event_id, layer, source_node, target_node, estimator,
                    correlation_type, correlation_score, latency_ms, expected_propagation, detected_at, confidence,
                    severity_level, lag_buckets, lag_source, overlap, n_eff, interval_low, interval_high, p_value, q_value,
                    window_start, window_end, bucket_ms, accepted_at, revision, superseded_at)
                SELECT $1, 'd-0', 1, day % 2, 9, 'pearson', 'x', 0.5, 0, 0, to_timestamp(86400 * (day - 1)), 0.5, 'LOW', 0, 'x', 9,
                    9, 0, 1, 0, 0, to_timestamp(0), to_timestamp(86400 * day), 1, to_timestamp(0), 1,
                    CASE WHEN day > 81 THEN to_timestamp(86400 * day) END
                FROM generate_series(80, 100) day
                """, [.shard(shard)])
            // Day 97 is the first that is kept.
            #expect(try await retention.round().rows == 14 + 15)
            let anomalies = try await pool.query("SELECT id FROM anomalies ORDER BY length(id), id").column(String.self)
            #expect(anomalies == ["80", "81", "82", "97", "98", "99", "100"])
            let edges = try await pool.query(
                "SELECT extract(epoch FROM window_end)::bigint / 86400 FROM multi_layer_correlations ORDER BY 1"
            ).column(Int64.self)
            #expect(edges == [80, 81, 97, 98, 99, 100])
        }
    }

    @Test("forecasts that go leave what they have taught about intervals to the last digit", arguments: [3, 20_000])
    func forecasts(rowsPerStatement: Int) async throws {
        try await Self.with { pool, partitions, retention in
            try await Self.store(Self.observations("d", days: 99...100), pool, partitions)
            // Two thirds cover, a few have no interval, one in fifty no outcome: of 1,000, more misses than four to one.
            try await pool.query(
                """
                INSERT INTO forecasts (shard, id, event_id, source_node, target_node, moved_at, horizon_at, latency_ms, move,
                    source_sd, beta, expected_change, interval_low, interval_high, confidence, scored_at, outcome, covered)
                SELECT $1, i || '', 'd-0', 7, $2, to_timestamp(86400 * 50 + i * 60), to_timestamp(86400 * 50 + i * 60 + 30), 1, 1,
                    1, 1, 1, 0, 2, 0.5, CASE WHEN i <> 3 THEN now() END, CASE WHEN i % 50 > 0 THEN i END,
                    CASE WHEN i > 20 AND i % 50 > 0 THEN i % 3 > 0 END
                FROM generate_series(1, 1000) i
                """, [.shard(Shard(event: "d-0")), .node(Self.node.id)])
            let before = try await Self.taught(pool)
            var small = retention
            small.bounds.rowsPerStatement = rowsPerStatement
            small.bounds.statements = 10_000
            #expect(try await small.round().rows > 500)
            #expect(try await Self.taught(pool) == before)
            #expect(try await small.round().rows == 0)
            let left = try await pool.query(
                "SELECT count(*), count(*) FILTER (WHERE scored_at IS NULL) FROM forecasts"
            ).map { try $0.decode((Int, Int).self) }
            // A hundred for the quantile, what misses there are beyond one in five, and the one that has no score.
            #expect(left[0].0 < 300 && left[0].1 == 1, "\(left)")
        }
    }
}
