import Engine
import Postgres

/// What was concluded from observations goes with their days, too. Same parameters as ``RetentionStatements/purges``.
extension RetentionStatements {
    static let purgesOfResults = [Self.purgeEdgeVersions, Self.purgeAnomalies, Self.purgeForecasts]

    /// The start of what is kept of each event: the earliest of its domains.
    private static let events = """
        (SELECT n.shard, n.event_id, min(k.start) AS start FROM unnest($1::text[], $2::timestamptz[]) AS k (domain, start)
         JOIN nodes n ON n.domain = k.domain GROUP BY n.shard, n.event_id) AS e
        """

    /// Versions of edges that ended before; the present ones stay however old they are.
    private static let purgeEdgeVersions = PostgresStatement(
        composed: """
            DELETE FROM multi_layer_correlations WHERE ctid = ANY (ARRAY(
                SELECT c.ctid FROM \(Self.events)
                JOIN multi_layer_correlations c ON c.shard = e.shard AND c.event_id = e.event_id AND c.superseded_at < e.start
                LIMIT $3))
            """)

    /// Episodes that ended before; open ones stay.
    private static let purgeAnomalies = PostgresStatement(
        composed: """
            DELETE FROM anomalies WHERE ctid = ANY (ARRAY(
                SELECT a.ctid FROM \(Self.events)
                JOIN anomalies a ON a.shard = e.shard AND a.event_id = e.event_id AND a.closed_at < e.start
                LIMIT $3))
            """)

    /// Scored forecasts, without a change to what they have taught (``ForecastCalibrator``): the newest of each pair stay, and those
    /// with an interval go in groups of one that missed and four that covered, whose sum is nothing at a target of one in five.
    private static let purgeForecasts = PostgresStatement(
        composed: """
            WITH old AS (
                SELECT f.ctid AS place, f.source_node, f.target_node, f.covered,
                    row_number() OVER (PARTITION BY f.source_node, f.target_node, f.covered ORDER BY f.horizon_at, f.id) AS n,
                    count(*) FILTER (WHERE f.covered) OVER pair / \(Self.coveredPerMiss) AS hits,
                    count(*) FILTER (WHERE NOT f.covered) OVER pair AS misses
                FROM unnest($1::text[], $2::timestamptz[]) AS k (domain, start)
                JOIN nodes t ON t.domain = k.domain
                JOIN forecasts f ON f.target_node = t.node_id AND f.horizon_at < k.start
                WHERE f.scored_at IS NOT NULL AND f.horizon_at < (
                    SELECT m.horizon_at FROM forecasts m
                    WHERE m.source_node = f.source_node AND m.target_node = f.target_node AND m.outcome IS NOT NULL
                      AND m.source_sd > 0
                    ORDER BY m.horizon_at DESC OFFSET \(ForecastCalibrator.memory - 1) LIMIT 1)
                WINDOW pair AS (PARTITION BY f.source_node, f.target_node)
            ), parts AS (
                SELECT place, source_node, target_node,
                    CASE WHEN covered IS NULL THEN 0 WHEN covered THEN (n + \(Self.coveredPerMiss - 1)) / \(Self.coveredPerMiss)
                         ELSE n END AS part,
                    least(hits, misses) AS parts
                FROM old
            ), chosen AS (
                SELECT DISTINCT source_node, target_node, part FROM parts WHERE part <= parts LIMIT $3
            )
            DELETE FROM forecasts WHERE ctid = ANY (ARRAY(
                SELECT p.place FROM parts p JOIN chosen USING (source_node, target_node, part)))
            """)

    private static let coveredPerMiss = Int((1 / ForecastCalibrator.missTarget).rounded()) - 1
}
