import Engine
import Model
import Postgres

/// A forecast as stored, with its score once it has one.
struct StoredForecast: Hashable, Sendable {
    let forecast: Forecast
    /// nil: not scored yet.
    let scoredAt: Timestamp?
    /// nil while not scored, and where no outcome could be read.
    let outcome: Double?
    let covered: Bool?
    let signHit: Bool?
    let baseRate: Double?
}

/// How one forecast turned out; without an outcome it is scored as unknown, so that nobody waits for it.
struct ScoredForecast: Hashable, Sendable {
    let forecast: Forecast
    let score: ForecastScore?
}

/// What to list of the forecasts.
struct ForecastFilter: Sendable {
    var event: String?
    /// Moved at or after.
    var since: Timestamp?
    var scored: Bool?
}

struct ForecastStore: Sendable {
    let pool: PostgresPool

    private static let columns = """
        f.event_id, s.domain, s.event_id, s.market, s.venue, t.domain, t.event_id, t.market, t.venue, f.moved_at, f.horizon_at,
        f.latency_ms, f.move, f.source_sd, f.beta, f.expected_change, f.interval_low, f.interval_high, f.confidence,
        f.scored_at, f.outcome, f.covered, f.sign_hit, f.base_rate
        """
    private static let source = """
        FROM forecasts f JOIN nodes s ON s.node_id = f.source_node JOIN nodes t ON t.node_id = f.target_node
        """
    private static let names =
        ListQuery.name("s", of: "f.source_node") + "\n" + ListQuery.name("t", of: "f.target_node")

    /// Adds forecasts; known ones stay as they are.
    static func insert(_ forecasts: [Forecast]) -> PostgresQuery {
        let rows = forecasts.sorted { (Shard(event: $0.event), $0.id) < (Shard(event: $1.event), $1.id) }
        return PostgresQuery(
            """
            INSERT INTO forecasts (shard, id, event_id, source_node, target_node, moved_at, horizon_at, latency_ms, move,
                source_sd, beta, expected_change, interval_low, interval_high, confidence)
            SELECT * FROM unnest($1::smallint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::timestamptz[],
                $7::timestamptz[], $8::float8[], $9::float8[], $10::float8[], $11::float8[], $12::float8[], $13::float8[],
                $14::float8[], $15::float8[])
            ON CONFLICT (shard, id) DO NOTHING
            """,
            [
                .shardArray(rows.map { Shard(event: $0.event) }), .textArray(rows.map(\.id)),
                .textArray(rows.map(\.event)), .nodeArray(rows.map(\.source.id)), .nodeArray(rows.map(\.target.id)),
                .timestampArray(rows.map(\.movedAt)), .timestampArray(rows.map(\.horizonAt)),
                .doubleArray(rows.map(\.latencyMs)), .doubleArray(rows.map(\.move)),
                .doubleArray(rows.map(\.sourceSd)), .doubleArray(rows.map(\.beta)),
                .doubleArray(rows.map(\.expectedChange)), .optionalDoubleArray(rows.map(\.intervalLow)),
                .optionalDoubleArray(rows.map(\.intervalHigh)), .doubleArray(rows.map(\.confidence)),
            ])
    }

    /// Scores forecasts that have no score yet; the first to score one wins.
    ///
    /// The interval is the stored one: whether it covered the outcome is decided against it, not against a replica's own.
    static func score(_ scored: [ScoredForecast]) -> PostgresQuery {
        let rows = scored.sorted {
            (Shard(event: $0.forecast.event), $0.forecast.id) < (Shard(event: $1.forecast.event), $1.forecast.id)
        }
        return PostgresQuery(
            """
            UPDATE forecasts AS f SET scored_at = now(), outcome = w.outcome, base_rate = w.base_rate,
                covered = CASE WHEN f.interval_low IS NOT NULL
                    THEN w.outcome BETWEEN f.interval_low AND f.interval_high END,
                sign_hit = CASE WHEN w.outcome <> 0 AND f.expected_change <> 0
                    THEN (w.outcome > 0) = (f.expected_change > 0) END
            FROM unnest($1::smallint[], $2::text[], $3::float8[], $4::float8[]) AS w(shard, id, outcome, base_rate)
            WHERE f.shard = w.shard AND f.id = w.id AND f.scored_at IS NULL
            RETURNING f.outcome IS NOT NULL, f.covered, f.sign_hit
            """,
            [
                .shardArray(rows.map { Shard(event: $0.forecast.event) }), .textArray(rows.map(\.forecast.id)),
                .optionalDoubleArray(rows.map { $0.score?.outcome }),
                .optionalDoubleArray(rows.map { $0.score?.baseRate }),
            ])
    }

    /// Forecasts without a score whose horizon the newest evaluated bucket of the target's domain has passed, the oldest first.
    func pending(upTo watermarks: [String: Timestamp], limit: Int) async throws -> [Forecast] {
        let domains = watermarks.sorted { $0.key < $1.key }
        let rows = try await self.pool.query(
            PostgresStatement(
                composed: """
                    SELECT \(Self.columns) \(Self.source)
                    JOIN unnest($1::text[], $2::timestamptz[]) AS w(domain, at) ON w.domain = t.domain AND f.horizon_at <= w.at
                    WHERE f.scored_at IS NULL ORDER BY f.horizon_at LIMIT $3
                    """),
            [.textArray(domains.map(\.key)), .timestampArray(domains.map(\.value)), .int(limit)])
        return try rows.map(Self.forecast).map(\.forecast)
    }

    /// Forecasts of the given pairs that have no score yet.
    func open(of pairs: [ForecastPair]) async throws -> [Forecast] {
        let rows = try await self.pool.query(
            PostgresStatement(
                composed: """
                    SELECT \(Self.columns) \(Self.source)
                    JOIN unnest($1::bigint[], $2::bigint[]) AS q(source, target)
                        ON f.source_node = q.source AND f.target_node = q.target
                    WHERE f.scored_at IS NULL ORDER BY f.horizon_at
                    """), [.nodeArray(pairs.map(\.source.id)), .nodeArray(pairs.map(\.target.id))])
        return try rows.map(Self.forecast).map(\.forecast)
    }

    /// A page of a list, newest move first, with how those of the filter did and what is not read yet: what one answer
    /// says, in one round trip.
    func overview(
        _ filter: ForecastFilter, after end: PageEnd?, limit: Int, tallyLimit: Int = Self.tallyLimit
    ) async throws -> (forecasts: [StoredForecast], tally: Tally, unreadRevisions: Int) {
        let all = Self.query(filter)
        var listed = all
        let page = listed.page(
            Self.columns, of: "forecasts", alias: "f", Self.names, time: "moved_at", after: end, limit: limit)
        let answers = try await self.pool.query([
            PostgresQuery(page, listed.parameters), Self.tally(all, limit: tallyLimit),
            ReaderPositionStore.unreadRevisions,
        ])
        return (
            try answers[0].map(Self.forecast), try Self.tally(answers[1]), try answers[2].column(Int.self).first ?? 0
        )
    }

    /// Newest forecasts that are counted: it must not take longer as history grows.
    static let tallyLimit = 5_000

    /// How the forecasts of a filter did, the newest ``tallyLimit`` of them.
    struct Tally: Hashable, Sendable {
        var forecasts = 0
        var scored = 0
        var withInterval = 0
        var covered = 0
        var withChange = 0
        var signHits = 0
        /// Mean over `withChange`; nil for none.
        var baseRate: Double?
    }

    private static func tally(_ query: ListQuery, limit: Int) -> PostgresQuery {
        PostgresQuery(
            PostgresStatement(
                composed: """
                    SELECT count(*), count(f.scored_at), count(f.covered), count(*) FILTER (WHERE f.covered),
                        count(f.sign_hit), count(*) FILTER (WHERE f.sign_hit),
                        avg(coalesce(f.base_rate, 0.5)) FILTER (WHERE f.sign_hit IS NOT NULL)
                    FROM (SELECT f.scored_at, f.covered, f.sign_hit, f.base_rate FROM forecasts f \(query.filters)
                        ORDER BY f.moved_at DESC, f.id LIMIT $\(query.parameters.count + 1)) f
                    """), query.parameters + [.int(limit)])
    }

    private static func tally(_ rows: PostgresRows) throws -> Tally {
        guard let row = rows.first else { return Tally() }
        let (forecasts, scored, withInterval, covered, withChange, signHits, baseRate) = try row.decode(
            (Int, Int, Int, Int, Int, Int, Double?).self)
        return Tally(
            forecasts: forecasts, scored: scored, withInterval: withInterval, covered: covered, withChange: withChange,
            signHits: signHits, baseRate: baseRate)
    }

    /// What the stored forecasts of each pair taught; a pair without any is left out.
    func calibrators(of pairs: [ForecastPair]) async throws -> [ForecastPair: ForecastCalibrator] {
        let rows = try await self.pool.query(
            """
            SELECT q.n, past.ratios, whole.intervals, whole.misses, whole.newest
            FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS q(source, target, n)
            CROSS JOIN LATERAL (
                SELECT coalesce(array_agg(r.ratio ORDER BY r.horizon_at), '{}'::float8[]) AS ratios FROM (
                    SELECT abs(f.outcome - f.expected_change) / f.source_sd AS ratio, f.horizon_at FROM forecasts f
                    WHERE f.source_node = q.source AND f.target_node = q.target AND f.outcome IS NOT NULL AND f.source_sd > 0
                    ORDER BY f.horizon_at DESC LIMIT $3) r) past
            CROSS JOIN LATERAL (
                SELECT count(f.covered) AS intervals, count(*) FILTER (WHERE NOT f.covered) AS misses,
                    max(f.horizon_at) AS newest
                FROM forecasts f WHERE f.source_node = q.source AND f.target_node = q.target) whole
            WHERE whole.newest IS NOT NULL
            """,
            [
                .nodeArray(pairs.map(\.source.id)), .nodeArray(pairs.map(\.target.id)),
                .int(ForecastCalibrator.memory),
            ])
        var calibrators: [ForecastPair: ForecastCalibrator] = [:]
        for (number, ratios, intervals, misses, newest) in try rows.decode((Int, [Double], Int, Int, Timestamp).self) {
            guard ratios.allSatisfy({ $0 >= 0 }) else {
                throw PostgresError(.malformedRow, detail: "an error of a forecast is no number")
            }
            calibrators[pairs[number - 1]] = ForecastCalibrator(
                ratios: ratios, intervals: intervals, misses: misses, pendingUntil: newest)
        }
        return calibrators
    }

    private static func query(_ filter: ForecastFilter) -> ListQuery {
        var query = ListQuery()
        if let event = filter.event { query.require("f.event_id = ?", .text(event)) }
        if let since = filter.since { query.require("f.moved_at >= ?", .timestamp(since)) }
        if let scored = filter.scored { query.require("f.scored_at IS \(scored ? "NOT NULL" : "NULL")") }
        return query
    }

    private static func forecast(_ row: PostgresRow) throws -> StoredForecast {
        guard let source = try NodeKey(row, at: 1), let target = try NodeKey(row, at: 5) else {
            throw PostgresError(.malformedRow, detail: "a forecast names a node without a name")
        }
        let low: Double? = try row.decode(at: 16)
        let high: Double? = try row.decode(at: 17)
        var forecast = Forecast(
            event: try row.decode(at: 0), source: source, target: target, movedAt: try row.decode(at: 9),
            horizonAt: try row.decode(at: 10), latencyMs: try row.decode(at: 11), move: try row.decode(at: 12),
            sourceSd: try row.decode(at: 13), beta: try row.decode(at: 14), halfWidth: nil,
            confidence: try row.decode(at: 18))
        forecast.expectedChange = try row.decode(at: 15)
        forecast.intervalLow = low
        forecast.intervalHigh = high
        return StoredForecast(
            forecast: forecast, scoredAt: try row.decode(at: 19), outcome: try row.decode(at: 20),
            covered: try row.decode(at: 21), signHit: try row.decode(at: 22), baseRate: try row.decode(at: 23))
    }
}
