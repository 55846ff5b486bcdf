import Engine
import Foundation
import Model
import Postgres
import Synchronization

/// Reads raw observations: values at given times, last values on a clock, and all rows of a period.
struct ObservationStore: Sendable {
    let pool: PostgresPool

    /// A node's value as of a time: what a closed bucket that ends there would hold.
    struct Reading: Hashable, Sendable {
        let node: NodeKey
        /// Observations before this time count.
        let at: Timestamp
        /// How far back a held value may lie.
        let lookbackMs: Int64
        let fill: DomainProfile.Fill
        /// Width of the bucket, for means and sums.
        let bucketMs: Int64
    }

    /// The value of each reading, in order; nil where nothing is known within the look-back.
    func values(_ readings: [Reading]) async throws -> [Double?] {
        let rows = try await self.pool.query(
            """
            SELECT q.n, CASE q.fill
                WHEN 'last' THEN (
                    SELECT avg(o.value) FROM observations o
                    WHERE o.shard = q.shard AND o.node_id = q.node AND o.observed_at = (
                        SELECT max(i.observed_at) FROM observations i WHERE i.shard = q.shard AND i.node_id = q.node
                            AND i.observed_at < q.at AND i.observed_at >= q.at - q.lookback_ms * interval '1 millisecond'))
                WHEN 'mean' THEN (
                    SELECT avg(o.value) FROM observations o WHERE o.shard = q.shard AND o.node_id = q.node
                        AND o.observed_at < q.at AND o.observed_at >= q.at - q.bucket_ms * interval '1 millisecond')
                ELSE (
                    SELECT sum(o.value) FROM observations o WHERE o.shard = q.shard AND o.node_id = q.node
                        AND o.observed_at < q.at AND o.observed_at >= q.at - q.bucket_ms * interval '1 millisecond')
                END
            FROM unnest($1::smallint[], $2::bigint[], $3::timestamptz[], $4::bigint[], $5::text[], $6::bigint[])
                WITH ORDINALITY AS q(shard, node, at, lookback_ms, fill, bucket_ms, n)
            """,
            [
                .shardArray(readings.map { Shard(event: $0.node.event) }), .nodeArray(readings.map(\.node.id)),
                .timestampArray(readings.map(\.at)), .int64Array(readings.map(\.lookbackMs)),
                .textArray(readings.map(\.fill.rawValue)), .int64Array(readings.map(\.bucketMs)),
            ])
        var values = [Double?](repeating: nil, count: readings.count)
        for (number, value) in try rows.decode((Int, Double?).self) { values[number - 1] = value }
        return values
    }

    /// Part of a node's past on a clock: `length` buckets that end at `end`.
    struct Span: Hashable, Sendable {
        let node: NodeKey
        /// A multiple of `bucketMs`.
        let end: Timestamp
        let bucketMs: Int64
        let length: Int
    }

    /// The last value of each bucket, oldest first, held over empty ones; NaN before the first.
    func levels(_ spans: [Span]) async throws -> [[Double]] {
        let rows = try await self.pool.query(
            """
            SELECT q.n, b.bucket, b.value
            FROM unnest($1::smallint[], $2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::bigint[])
                WITH ORDINALITY AS q(shard, node, low, high, bucket_ms, n)
            CROSS JOIN LATERAL (
                SELECT DISTINCT ON (bucket) o.value,
                    floor(extract(epoch FROM o.observed_at - q.low) * 1000 / q.bucket_ms)::bigint AS bucket
                FROM observations o
                WHERE o.shard = q.shard AND o.node_id = q.node AND o.observed_at >= q.low AND o.observed_at < q.high
                ORDER BY bucket, o.observed_at DESC, o.value) b
            """,
            [
                .shardArray(spans.map { Shard(event: $0.node.event) }), .nodeArray(spans.map(\.node.id)),
                .timestampArray(spans.map { $0.end.advanced(byMilliseconds: -$0.bucketMs * Int64($0.length)) }),
                .timestampArray(spans.map(\.end)), .int64Array(spans.map(\.bucketMs)),
            ])
        var levels = spans.map { [Double](repeating: .nan, count: $0.length) }
        for (number, bucket, value) in try rows.decode((Int, Int, Double).self)
        where levels[number - 1].indices.contains(bucket) {
            levels[number - 1][bucket] = value
        }
        for index in levels.indices {
            var held = Double.nan
            for bucket in levels[index].indices {
                if levels[index][bucket].isNaN { levels[index][bucket] = held } else { held = levels[index][bucket] }
            }
        }
        return levels
    }

    /// Every observation of the domains' nodes within [start, end), in no order, as (node, time, value).
    ///
    /// - Parameter limit: with more rows than this the read stops and `.limitReached` is thrown.
    /// - Returns: the number of rows.
    func stream(
        domains: [String], from start: Timestamp, to end: Timestamp, limit: Int,
        _ read: @escaping @Sendable (NodeID, Timestamp, Double) -> Void
    ) async throws -> Int {
        // COPY takes no parameters; names go in as hexadecimal digits, times as numbers, so no text of others gets into it.
        let names = domains.map { "convert_from('\\x\(Self.hexadecimal($0))'::bytea, 'UTF8')" }.joined(separator: ", ")
        let statement = PostgresStatement(
            composed: """
                COPY (SELECT o.node_id, o.observed_at, o.value FROM nodes n
                JOIN observations o ON o.shard = n.shard AND o.node_id = n.node_id
                WHERE n.domain IN (\(names)) AND o.observed_at >= timestamptz '\(start.rfc3339)'
                AND o.observed_at < timestamptz '\(end.rfc3339)') TO STDOUT (FORMAT binary)
                """)
        let counter = Mutex(0)
        return try await self.pool.withConnection { connection in
            try await connection.copyOut(statement) { (row) throws(PostgresError) in
                let count = counter.withLock { count in
                    count += 1
                    return count
                }
                guard count <= limit else { throw PostgresError(.limitReached, detail: "more than \(limit) rows") }
                let node = NodeID(rawValue: try row.int64())
                let time = try row.timestamp()
                read(node, time, try row.double())
            }
        }
    }

    private static func hexadecimal(_ text: String) -> String {
        text.utf8.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    }
}
