import Engine
import Model
import Postgres

/// The statements by which a replica learns nodes and observations. Holds no state; every method is one round trip.
struct SeriesReader: Sendable {
    let connection: PostgresConnection

    struct NodeRow: Sendable {
        var key: NodeKey
        var id: NodeID
        /// Oldest and newest observation; nil while there is none.
        var firstMs: Int64?
        var lastMs: Int64?

        /// As if all of its observations had just come.
        var touched: LogTail.Touched? {
            guard let firstMs, let lastMs else { return nil }
            return LogTail.Touched(node: self.id, firstMs: firstMs, lastMs: lastMs)
        }
    }

    /// Whole buckets of one node: times in `fromMs ..< toMs`.
    struct Span: Hashable, Sendable {
        var shard: Shard
        var node: NodeID
        var fromMs: Int64
        var toMs: Int64
    }

    /// Bounds of one statement, so that a window of any size is read in bounded memory: buckets, if one node has as many
    /// readings as buckets 1.6 MB on either side of the wire; and nodes.
    static let bucketsPerSlice: Int64 = 65_536
    static let spansPerSlice = 4_096

    private static let nodeColumns = """
        n.node_id, n.domain, n.event_id, n.market, n.venue,
        (SELECT o.observed_at FROM observations o WHERE o.shard = n.shard AND o.node_id = n.node_id
         ORDER BY o.observed_at LIMIT 1),
        (SELECT o.observed_at FROM observations o WHERE o.shard = n.shard AND o.node_id = n.node_id
         ORDER BY o.observed_at DESC LIMIT 1)
        """
    private static let allNodes = PostgresStatement(composed: "SELECT \(nodeColumns) FROM nodes n")
    private static let someNodes = PostgresStatement(
        composed: "SELECT \(nodeColumns) FROM nodes n WHERE n.node_id = ANY($1::bigint[])")

    func allNodes() async throws -> [NodeRow] {
        try Self.nodes(try await self.connection.query(Self.allNodes))
    }

    func nodes(_ ids: [NodeID]) async throws -> [NodeRow] {
        try Self.nodes(try await self.connection.query(Self.someNodes, [.nodeArray(ids)]))
    }

    private static let nodesOfDomains = PostgresStatement(
        composed: "SELECT \(nodeColumns) FROM nodes n WHERE n.domain = ANY($1::text[]) LIMIT $2")

    /// - Returns: at most `limit` nodes of these domains.
    func nodes(ofDomains domains: [String], limit: Int) async throws -> [NodeRow] {
        try Self.nodes(try await self.connection.query(Self.nodesOfDomains, [.textArray(domains), .int(limit)]))
    }

    private static func nodes(_ rows: PostgresRows) throws -> [NodeRow] {
        try rows.map { row in
            let (id, domain, event, market, venue, first, last) = try row.decode(
                (NodeID, String, String, String, String, Timestamp?, Timestamp?).self)
            return NodeRow(
                key: NodeKey(domain: domain, event: event, market: market, venue: venue), id: id,
                firstMs: first?.milliseconds, lastMs: last?.milliseconds)
        }
    }

    /// Cuts spans into what one statement may ask for.
    static func slices(_ spans: [Span], bucketMs: Int64) -> [ArraySlice<Span>] {
        var slices: [ArraySlice<Span>] = []
        var start = 0
        var buckets: Int64 = 0
        for (index, span) in spans.enumerated() {
            let own = (span.toMs - span.fromMs) / bucketMs
            if index > start, buckets + own > Self.bucketsPerSlice || index - start >= Self.spansPerSlice {
                slices.append(spans[start..<index])
                (start, buckets) = (index, 0)
            }
            buckets += own
        }
        if start < spans.count { slices.append(spans[start...]) }
        return slices
    }

    /// Observations in `spans`, a row a span: far cheaper to send and to read than a row an observation. Runs as one index
    /// range a span whatever the planner knows of the sizes: the inner query is ordered, so it is not flattened into a join
    /// of all observations; and aggregates see the rows of an ordered subquery in its order.
    private static let observations: PostgresStatement = """
        SELECT s.node_id, o.times, o.readings
        FROM unnest($1::smallint[], $2::bigint[], $3::timestamptz[], $4::timestamptz[])
             AS s(shard, node_id, from_at, to_at)
        CROSS JOIN LATERAL (
            SELECT array_agg(i.observed_at) AS times, array_agg(i.value) AS readings FROM (
                SELECT observed_at, value FROM observations
                WHERE shard = s.shard AND node_id = s.node_id AND observed_at >= s.from_at AND observed_at < s.to_at
                  AND observed_at >= $5 AND observed_at < $6
                ORDER BY observed_at, value) i) o
        WHERE o.times IS NOT NULL
        """

    /// Nodes without observations are left out.
    func observations(_ spans: ArraySlice<Span>) async throws -> [NodeReadings] {
        guard let from = spans.map(\.fromMs).min(), let to = spans.map(\.toMs).max() else { return [] }
        let rows = try await self.connection.query(
            Self.observations,
            [
                .shardArray(spans.map(\.shard)), .nodeArray(spans.map(\.node)),
                .timestampArray(spans.map { Timestamp(milliseconds: $0.fromMs) }),
                .timestampArray(spans.map { Timestamp(milliseconds: $0.toMs) }),
                .timestamp(Timestamp(milliseconds: from)), .timestamp(Timestamp(milliseconds: to)),
            ])
        return try await Self.readings(rows)
    }

    @concurrent
    private static func readings(_ rows: PostgresRows) async throws -> [NodeReadings] {
        try rows.map { row in
            let (node, times, values) = try row.decode((NodeID, PostgresTimes, PostgresDoubles).self)
            return NodeReadings(
                node: node, readings: zip(times.milliseconds, values.values).map { Reading(timeMs: $0, value: $1) })
        }
    }

    /// The newest time before `beforeMs` of each node that has one.
    func lastTimes(_ nodes: [(shard: Shard, id: NodeID)], beforeMs: Int64) async throws -> [NodeID: Int64] {
        let rows = try await self.connection.query(
            """
            SELECT s.node_id, o.observed_at FROM unnest($1::smallint[], $2::bigint[]) AS s(shard, node_id)
            CROSS JOIN LATERAL (
                SELECT observed_at FROM observations
                WHERE shard = s.shard AND node_id = s.node_id AND observed_at < $3
                ORDER BY observed_at DESC LIMIT 1) o
            """,
            [
                .shardArray(nodes.map(\.shard)), .nodeArray(nodes.map(\.id)),
                .timestamp(Timestamp(milliseconds: beforeMs)),
            ])
        var times: [NodeID: Int64] = [:]
        for row in rows {
            let (id, time) = try row.decode((NodeID, Timestamp).self)
            times[id] = time.milliseconds
        }
        return times
    }

    /// The first distinct times of each node, ascending, at most ``ClockRule/timesPerNode``.
    func firstTimes(_ nodes: [(shard: Shard, id: NodeID)]) async throws -> [[Int64]] {
        let rows = try await self.connection.query(
            """
            SELECT s.node_id, o.observed_at FROM unnest($1::smallint[], $2::bigint[]) AS s(shard, node_id)
            CROSS JOIN LATERAL (
                SELECT DISTINCT observed_at FROM observations
                WHERE shard = s.shard AND node_id = s.node_id ORDER BY observed_at LIMIT $3) o
            ORDER BY s.node_id, o.observed_at
            """,
            [
                .shardArray(nodes.map(\.shard)), .nodeArray(nodes.map(\.id)),
                .int64(Int64(ClockRule.timesPerNode)),
            ])
        var times: [NodeID: [Int64]] = [:]
        for row in rows {
            let (id, time) = try row.decode((NodeID, Timestamp).self)
            times[id, default: []].append(time.milliseconds)
        }
        return Array(times.values)
    }

    /// Declared profiles changed at or after `since`, with the newest change.
    func profiles(since: Timestamp) async throws -> [(profile: DomainProfile, changedAt: Timestamp)] {
        try await self.connection.query(
            "SELECT profile, updated_at FROM domain_profiles WHERE updated_at >= $1 ORDER BY updated_at",
            [.timestamp(since)]
        ).map { row in
            let (profile, changed) = try row.decode((PostgresJSON<DomainProfile>, Timestamp).self)
            return (profile.value, changed)
        }
    }

    /// End of the newest bucket each shard has evaluated, by domain.
    func evaluatedEnds(_ shards: [Shard]) async throws -> [(shard: Shard, domain: String, end: Timestamp)] {
        try await self.connection.query(
            """
            SELECT shard, domain, max(window_end) FROM evaluations WHERE shard = ANY($1::smallint[]) GROUP BY shard, domain
            """, [.shardArray(shards)]
        ).map { row in
            let (shard, domain, end) = try row.decode((Shard, String, Timestamp).self)
            return (shard, domain, end)
        }
    }
}

extension SeriesReader {
    /// Every declared call, of all topologies.
    func declaredCalls() async throws -> [(String, String)] {
        try await self.connection.query("SELECT caller, callee FROM topology ORDER BY 1, 2 LIMIT 100000").map { row in
            try row.decode((String, String).self)
        }
    }

    /// Stored detector states of `shards`.
    func detectorStates(
        _ shards: [Shard]
    ) async throws -> [(shard: Shard, domain: String, end: Timestamp, state: [UInt8])] {
        try await self.connection.query(
            "SELECT shard, domain, window_end, state FROM detector_states WHERE shard = ANY($1::smallint[])",
            [.shardArray(shards)]
        ).map { row in
            let (shard, domain, end, state) = try row.decode((Shard, String, Timestamp, [UInt8]).self)
            return (shard, domain, end, state)
        }
    }
}
