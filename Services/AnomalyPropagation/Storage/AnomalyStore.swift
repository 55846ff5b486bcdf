import Foundation
import Model
import Postgres

/// What to list of the anomalies.
struct AnomalyFilter: Sendable {
    var event: String?
    var layer: Layer?
    var kind: FindingKind?
    var severity: Severity?
    /// Opened at or after.
    var since: Timestamp?
}

struct AnomalyStore: Sendable {
    let pool: PostgresPool

    private static let columns = """
        a.id, a.kind, a.event_id, s.domain, s.event_id, s.market, s.venue, t.domain, t.event_id, t.market, t.venue, a.layer,
        a.started_at, a.opened_at, a.closed_at, a.severity, a.peak_statistic, a.level, a."values", a.reason
        """
    private static let names = ListQuery.name("s", of: "a.node_id") + "\n" + ListQuery.name("t", of: "a.target_node")

    /// Newest opening first.
    /// - Returns: at most `limit` anomalies.
    func list(_ filter: AnomalyFilter, after end: PageEnd?, limit: Int) async throws -> [Anomaly] {
        var query = ListQuery()
        if let event = filter.event { query.require("a.event_id = ?", .text(event)) }
        if let layer = filter.layer { query.require("a.layer = ?", .int16(Int16(layer.rawValue))) }
        if let kind = filter.kind { query.require("a.kind = ?", .text(kind.rawValue)) }
        if let severity = filter.severity { query.require("a.severity = ?", .text(severity.rawValue)) }
        if let since = filter.since { query.require("a.opened_at >= ?", .timestamp(since)) }
        let page = query.page(
            Self.columns, of: "anomalies", alias: "a", Self.names, time: "opened_at", after: end, limit: limit)
        return try await self.pool.query(page, query.parameters).map(Self.anomaly)
    }

    func anomaly(id: String) async throws -> Anomaly? {
        let rows = try await self.pool.query(
            PostgresStatement(
                composed: "SELECT \(Self.columns) FROM anomalies a \(Self.names) WHERE a.id = $1 LIMIT 1"), [.text(id)])
        return try rows.first.map(Self.anomaly)
    }

    /// Brings stored episodes forward: a new one is added; a known one only gains (a higher peak, its end). Repeating it, or
    /// doing it from several replicas in any order, leaves the same rows.
    /// - Parameter anomalies: each id once.
    static func merge(_ anomalies: [Anomaly]) throws -> PostgresQuery {
        let rows = anomalies.sorted { (Shard(event: $0.event), $0.id) < (Shard(event: $1.event), $1.id) }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        let values = try rows.map { String(decoding: try encoder.encode($0.values), as: UTF8.self) }
        return PostgresQuery(
            """
            INSERT INTO anomalies AS a (shard, id, kind, event_id, node_id, target_node, layer, started_at, opened_at, closed_at,
                severity, peak_statistic, level, "values", reason)
            SELECT w.shard, w.id, w.kind, w.event_id, w.node_id, w.target_node, w.layer, w.started_at, w.opened_at, w.closed_at,
                w.severity, w.peak_statistic, w.level, w.details::jsonb, w.reason
            FROM unnest($1::smallint[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::smallint[],
                $8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::text[], $12::float8[], $13::float8[],
                $14::text[], $15::text[])
                AS w(shard, id, kind, event_id, node_id, target_node, layer, started_at, opened_at, closed_at, severity,
                    peak_statistic, level, details, reason)
            ON CONFLICT (shard, id) DO UPDATE SET
                closed_at = coalesce(a.closed_at, excluded.closed_at),
                severity = CASE WHEN abs(excluded.peak_statistic) > abs(a.peak_statistic)
                    THEN excluded.severity ELSE a.severity END,
                level = CASE WHEN abs(excluded.peak_statistic) > abs(a.peak_statistic) THEN excluded.level ELSE a.level END,
                "values" = CASE WHEN abs(excluded.peak_statistic) > abs(a.peak_statistic)
                    THEN excluded."values" ELSE a."values" END,
                reason = CASE WHEN abs(excluded.peak_statistic) > abs(a.peak_statistic) THEN excluded.reason ELSE a.reason END,
                peak_statistic = CASE WHEN abs(excluded.peak_statistic) > abs(a.peak_statistic)
                    THEN excluded.peak_statistic ELSE a.peak_statistic END,
                updated_at = now()
            WHERE (a.closed_at IS NULL AND excluded.closed_at IS NOT NULL)
                OR abs(excluded.peak_statistic) > abs(a.peak_statistic)
            RETURNING a.kind, (xmax = 0)
            """,
            [
                .shardArray(rows.map { Shard(event: $0.event) }), .textArray(rows.map(\.id)),
                .textArray(rows.map(\.kind.rawValue)), .textArray(rows.map(\.event)), .nodeArray(rows.map(\.node.id)),
                .int64Array(rows.map { $0.target?.id.rawValue ?? 0 }),
                .optionalInt16Array(rows.map { $0.layer.map { Int16($0.rawValue) } }),
                .timestampArray(rows.map(\.startedAt)), .timestampArray(rows.map(\.openedAt)),
                .optionalTimestampArray(rows.map(\.closedAt)), .textArray(rows.map(\.severity.rawValue)),
                .doubleArray(rows.map(\.peakStatistic)), .doubleArray(rows.map(\.level)), .textArray(values),
                .textArray(rows.map(\.reason)),
            ])
    }

    private static func anomaly(_ row: PostgresRow) throws -> Anomaly {
        func column<Value: PostgresDecodable>(_ index: Int, _ type: Value.Type = Value.self) throws -> Value {
            try row.decode(type, at: index)
        }
        guard let kind = FindingKind(rawValue: try column(1)), let severity = Severity(rawValue: try column(15)) else {
            throw PostgresError(.malformedRow, detail: "anomalies.kind or anomalies.severity is not known")
        }
        let values: PostgresJSON<[String: Double]> = try column(18)
        return Anomaly(
            id: try column(0), kind: kind, event: try column(2),
            node: NodeKey(domain: try column(3), event: try column(4), market: try column(5), venue: try column(6)),
            target: try NodeKey(row, at: 7), layer: try column(11, Int?.self).flatMap(Layer.init(rawValue:)),
            startedAt: try column(12), openedAt: try column(13), closedAt: try column(14), severity: severity,
            peakStatistic: try column(16), level: try column(17), values: values.value, reason: try column(19))
    }
}

extension NodeKey {
    /// Four columns from `index` on; nil when they are null.
    init?(_ row: PostgresRow, at index: Int) throws {
        guard let domain = try row.decode(String?.self, at: index) else { return nil }
        self.init(
            domain: domain, event: try row.decode(at: index + 1), market: try row.decode(at: index + 2),
            venue: try row.decode(at: index + 3))
    }
}
