import Model
import Postgres

/// How far the findings of a shard have been turned into episodes, and the episodes' state there.
struct ReaderPosition: Hashable, Sendable {
    let shard: Shard
    /// Everything up to this revision has been taken in.
    let revision: Int64
    let state: [UInt8]
}

/// Positions are shared by all replicas: whoever is further ahead has written every row up to its position in the same
/// transaction, so the row only moves forward and a replica that starts continues from it.
struct ReaderPositionStore: Sendable {
    static let reader = "anomaly-propagation"
    /// Keeps forecasts that wait (``ForecastBook/waiting``) in rows of their own: programs of before read the others.
    static let waitingForecasts = "waiting-forecasts"
    /// Retention keeps what the furthest behind of a shard's readers has not read; these rows read nothing.
    static let holdsNothingBack = Int64.max
    let pool: PostgresPool

    func positions(of reader: String = Self.reader) async throws -> [ReaderPosition] {
        let rows = try await self.pool.query(
            "SELECT shard, revision, coalesce(state, ''::bytea) FROM reader_positions WHERE reader = $1",
            [.text(reader)])
        return try rows.decode((Shard, Int64, [UInt8]).self).map {
            ReaderPosition(shard: $0.0, revision: $0.1, state: $0.2)
        }
    }

    /// Revisions of all shards that nobody has taken in yet. A position is saved up to two seconds after it was reached.
    static let unreadRevisions = PostgresQuery(
        """
        SELECT coalesce(sum(greatest(0, l.revision - coalesce(p.revision, 0))), 0)::bigint
        FROM shard_leases l LEFT JOIN reader_positions p ON p.shard = l.shard AND p.reader = $1
        """, [.text(Self.reader)])

    /// - Parameter positions: at most one per shard.
    static func save(_ positions: [ReaderPosition], of reader: String = Self.reader) -> PostgresQuery {
        let sorted = positions.sorted { $0.shard < $1.shard }
        return PostgresQuery(
            """
            INSERT INTO reader_positions AS p (shard, reader, revision, state)
            SELECT w.shard, $4, w.revision, w.state
            FROM unnest($1::smallint[], $2::bigint[], $3::bytea[]) AS w(shard, revision, state)
            ON CONFLICT (shard, reader) DO UPDATE SET revision = excluded.revision, state = excluded.state
            WHERE p.revision < excluded.revision OR p.revision = excluded.revision AND p.state <> excluded.state
            """,
            [
                .shardArray(sorted.map(\.shard)), .int64Array(sorted.map(\.revision)), .byteaArray(sorted.map(\.state)),
                .text(reader),
            ])
    }
}
