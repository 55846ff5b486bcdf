import Model
import Postgres
import TestSupport
import Testing

@testable import GraphBuilder

@Suite("Findings about links under a declared cycle")
struct SeasonFindingsTests {
    private static let count = 320
    private static let breakAt = 280

    /// Two nodes on a strong common cycle of 20 buckets, and on something common beside it that ends.
    private static var observations: [Observation] {
        ["m", "n"].enumerated().flatMap { index, market in
            (0..<Self.count).map { step in
                let cycle = 20 * Feed.noise(UInt64(step % 20) + 7_000)
                let common = Feed.noise(UInt64(step) + 1)
                let own = Feed.noise(UInt64(step * 31 + index * 7 + 100_000))
                return Observation(
                    node: NodeKey(domain: "d", event: "alpha", market: market, venue: "v"),
                    time: Timestamp(milliseconds: Int64(step) * 60_000),
                    value: cycle + (step < Self.breakAt ? common + 0.2 * own : own))
            }
        }.sorted { ($0.time, $0.node) < ($1.time, $1.node) }
    }

    private static func breaks(periodMs: Int64) async throws -> [Timestamp] {
        try await TestDatabase.with { database in
            try await database.withPool { pool in
                try await Feed.declare(
                    DomainProfile(
                        domain: "d", bucketMs: 60_000, presentBuckets: 30, baselineBuckets: 120, lagBuckets: 0,
                        allowedLatenessMs: 60_000, periodMs: periodMs), in: pool)
                try await Feed.store(Self.observations, in: pool)
                try await Replica(pool, name: "one").work()
                return try await pool.query(
                    "SELECT window_end FROM findings WHERE kind = 'correlationBreak' ORDER BY window_end"
                ).column(Timestamp.self)
            }
        }
    }

    @Test("a link that breaks is told although both nodes follow the same cycle, once its period is declared")
    func breaksBesideACycle() async throws {
        let found = try await Self.breaks(periodMs: 20 * 60_000)
        let first = try #require(found.first).milliseconds / 60_000
        #expect((Self.breakAt...Self.breakAt + 30).contains(Int(first)))
        // Undeclared, the cycle goes on to hold them together.
        #expect(try await Self.breaks(periodMs: 0).isEmpty)
    }
}
