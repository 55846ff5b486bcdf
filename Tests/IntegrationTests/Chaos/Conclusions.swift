import Foundation
import Postgres
import TestSupport

/// What was concluded from observations, row by row as text. When a row was written does not count, nor under which revision.
struct Conclusions: Equatable, Sendable {
    var findings: Set<String>
    var anomalies: Set<String>
    var forecasts: Set<String>

    /// How many rows the other lacks and has too many, with an example of each.
    func difference(to other: Conclusions) -> String {
        [
            ("findings", self.findings, other.findings), ("anomalies", self.anomalies, other.anomalies),
            ("forecasts", self.forecasts, other.forecasts),
        ].map { name, own, others in
            let (missing, unexpected) = (own.subtracting(others), others.subtracting(own))
            guard !missing.isEmpty || !unexpected.isEmpty else { return "\(own.count) \(name)" }
            return """
                of \(own.count) \(name) \(missing.count) are missing, as \(missing.min() ?? "-"), and \(unexpected.count) \
                others are there, as \(unexpected.min() ?? "-")
                """
        }.joined(separator: "; ")
    }
}

extension Evidence {
    func conclusions() async throws -> Conclusions {
        try await self.connected { connection in
            func rows(_ statement: PostgresStatement) async throws -> Set<String> {
                Set(try await connection.query(statement).column(String.self))
            }
            return Conclusions(
                findings: try await rows("SELECT (to_jsonb(f) - 'revision')::text FROM findings f"),
                // A test of migrations adds a column.
                anomalies: try await rows(
                    "SELECT (to_jsonb(a) - 'updated_at' - 'of_the_next_release')::text FROM anomalies a"),
                forecasts: try await rows(
                    """
                    SELECT ((to_jsonb(f) - 'scored_at') || jsonb_build_object('scored', f.scored_at IS NOT NULL))::text
                    FROM forecasts f
                    """))
        }
    }

    /// What anomaly-propagation has not done yet.
    struct Unconcluded: Equatable {
        /// Shards whose findings have not all been read.
        var shards: Int
        /// Forecasts that could be scored and are not.
        var forecasts: Int
    }

    func unconcluded() async throws -> Unconcluded {
        try await self.connected { connection in
            let rows = try await connection.query(
                """
                SELECT (SELECT count(*) FROM shard_leases l LEFT JOIN reader_positions p ON p.shard = l.shard
                            AND p.reader = 'anomaly-propagation'
                        WHERE l.revision > coalesce(p.revision, 0))
                       + (SELECT count(*) FROM reader_positions
                          WHERE reader = 'waiting-forecasts' AND state <> '[]'::bytea),
                       (SELECT count(*) FROM forecasts f JOIN nodes t ON t.node_id = f.target_node
                        WHERE f.scored_at IS NULL AND f.horizon_at <=
                            (SELECT max(e.window_end) FROM evaluations e WHERE e.domain = t.domain))
                """)
            guard let (shards, forecasts) = try rows.first?.decode((Int, Int).self) else {
                throw RunningProgram.Failure(description: "no answer")
            }
            return Unconcluded(shards: shards, forecasts: forecasts)
        }
    }

    /// Waits until all findings are read and all forecasts scored that can be.
    func concluded(seconds: Double = 180) async throws -> Conclusions {
        try await self.stack.eventually("everything is concluded", seconds: seconds) {
            let left = try await self.unconcluded()
            guard left == Unconcluded(shards: 0, forecasts: 0) else {
                throw RunningProgram.Failure(description: "\(left)")
            }
            return true
        }
        return try await self.conclusions()
    }
}
