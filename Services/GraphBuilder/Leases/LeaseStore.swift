import Model
import Postgres

/// The statements over `replicas` and `shard_leases`. Holds no state; the database's clock decides what is valid.
///
/// A validity that ends later than any lease lasts (5 minutes) was given before that clock stepped back, and counts for nothing:
/// else shards of a dead replica would stay with it for as long as the step was. Should its owner live after all, its writes are
/// fenced as always.
struct LeaseStore: Sendable {
    static let service = "graph-builder"

    let pool: PostgresPool
    /// Unique per process start, so that a restarted replica never mistakes old leases for its own.
    let replica: String
    /// `host:port` others reach us at.
    let address: String
    let validity: Duration

    /// What one round of renewal found.
    struct Standing: Sendable {
        /// Epoch by shard of what is still ours.
        var renewed: [Shard: Int64]
        /// Revision by shard as of this round.
        var revisions: [Shard: Int64]
        /// Replicas with a valid registration, this one included.
        var alive: Int
    }

    private var milliseconds: Int64 { Int64(self.validity / .milliseconds(1)) }

    /// Registers this replica, prolongs the leases on `held`, and counts the living, in one transaction.
    func renew(_ held: [Shard]) async throws -> Standing {
        try await self.pool.withConnection { connection in
            let results = try await connection.pipeline([
                PostgresQuery(
                    """
                    INSERT INTO replicas (replica, service, address, expires_at)
                    VALUES ($1, $2, $3, now() + $4 * interval '1 millisecond')
                    ON CONFLICT (replica) DO UPDATE SET address = excluded.address, expires_at = excluded.expires_at
                    """, [.text(self.replica), .text(Self.service), .text(self.address), .int64(self.milliseconds)]),
                PostgresQuery(
                    """
                    WITH mine AS (
                        SELECT shard FROM shard_leases WHERE owner = $1 AND shard = ANY($2::smallint[])
                        ORDER BY shard FOR UPDATE)
                    UPDATE shard_leases l SET expires_at = now() + $3 * interval '1 millisecond'
                    FROM mine WHERE mine.shard = l.shard RETURNING l.shard, l.epoch, l.revision
                    """, [.text(self.replica), .shardArray(held), .int64(self.milliseconds)]),
                PostgresQuery(
                    """
                    SELECT count(*) FROM replicas
                    WHERE service = $1 AND expires_at > now() AND expires_at <= now() + interval '5 minutes'
                    """, [.text(Self.service)]),
            ])
            var standing = Standing(renewed: [:], revisions: [:], alive: try results[2].column(Int.self).first ?? 1)
            for row in results[1] {
                let (shard, epoch, revision) = try row.decode((Shard, Int64, Int64).self)
                standing.renewed[shard] = epoch
                standing.revisions[shard] = revision
            }
            return standing
        }
    }

    /// Takes up to `count` shards that nobody holds. Rows being claimed by others are passed over.
    func claim(_ count: Int) async throws -> [Shard: Int64] {
        let rows = try await self.pool.query(
            """
            WITH free AS (
                SELECT shard FROM shard_leases WHERE expires_at <= now() OR expires_at > now() + interval '5 minutes'
                ORDER BY shard LIMIT $1
                FOR UPDATE SKIP LOCKED)
            UPDATE shard_leases l SET owner = $2, owner_address = $3, epoch = l.epoch + 1,
                expires_at = now() + $4 * interval '1 millisecond'
            FROM free WHERE free.shard = l.shard RETURNING l.shard, l.epoch
            """, [.int(count), .text(self.replica), .text(self.address), .int64(self.milliseconds)])
        var granted: [Shard: Int64] = [:]
        for row in rows {
            let (shard, epoch) = try row.decode((Shard, Int64).self)
            granted[shard] = epoch
        }
        return granted
    }

    /// Gives shards back, so that others need not wait for the expiry.
    func release(_ shards: [Shard]) async throws {
        try await self.pool.query(
            """
            WITH mine AS (
                SELECT shard FROM shard_leases WHERE owner = $1 AND shard = ANY($2::smallint[]) ORDER BY shard FOR UPDATE)
            UPDATE shard_leases l SET owner = NULL, owner_address = NULL, expires_at = '-infinity'
            FROM mine WHERE mine.shard = l.shard
            """, [.text(self.replica), .shardArray(shards)])
    }

    /// Forgets this replica, and others that have been gone for an hour.
    func leave() async throws {
        try await self.pool.query(
            "DELETE FROM replicas WHERE replica = $1 OR expires_at < now() - interval '1 hour'", [.text(self.replica)])
    }
}
