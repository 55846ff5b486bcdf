import Postgres

/// The statements that take staged rows into the tables, in order. All of them run in one transaction, behind the leases.
struct SnapshotStatements {
    struct Step {
        var table: String
        var removes = false
        var text: String
    }

    let manifest: SnapshotManifest

    /// Holds every lease, in the order of writers, and lets no shard count behind the snapshot.
    static let raiseRevisions: PostgresStatement = """
        WITH held AS (SELECT shard FROM shard_leases ORDER BY shard FOR UPDATE),
        kept AS (SELECT (ordinal - 1)::smallint AS shard, revision
                 FROM unnest($1::bigint[]) WITH ORDINALITY AS k(revision, ordinal))
        UPDATE shard_leases l SET revision = greatest(l.revision, kept.revision)
        FROM held JOIN kept USING (shard) WHERE l.shard = held.shard
        """

    /// The same, and the lease of whoever thinks to hold one is worth nothing any more.
    static let takeLeases: PostgresStatement = """
        WITH held AS (SELECT shard FROM shard_leases ORDER BY shard FOR UPDATE),
        kept AS (SELECT (ordinal - 1)::smallint AS shard, revision
                 FROM unnest($1::bigint[]) WITH ORDINALITY AS k(revision, ordinal))
        UPDATE shard_leases l SET revision = greatest(l.revision, kept.revision) + 1, epoch = l.epoch + 1, owner = NULL,
            owner_address = NULL, expires_at = '-infinity'
        FROM held JOIN kept USING (shard) WHERE l.shard = held.shard
        """

    private func columns(_ table: String) -> [String] {
        self.manifest.files.first { $0.table == table }?.columns ?? []
    }

    /// `INSERT ... SELECT` of staged rows. `revision` becomes that of the shard where readers ask by it.
    private func insert(_ table: String, renumbers: Bool = false, where condition: String = "true", _ conflict: String)
        -> Step
    {
        let columns = self.columns(table)
        let values = columns.map {
            renumbers && $0 == "revision" ? "l.revision" : SnapshotTable.list([$0], prefix: "s.")
        }
        let join = renumbers ? "JOIN shard_leases l ON l.shard = s.shard " : ""
        return Step(
            table: table,
            text: """
                INSERT INTO \(table) AS t (\(SnapshotTable.list(columns)))
                SELECT \(values.joined(separator: ", ")) FROM restoring_\(table) s \(join)WHERE \(condition)
                \(conflict)
                """)
    }

    private func assignments(_ table: String, except keys: Set<String>) -> String {
        self.columns(table).filter { !keys.contains($0) }.map { column in
            let name = SnapshotTable.list([column])
            return "\(name) = excluded.\(name)"
        }.joined(separator: ", ")
    }

    private static let nothing = "ON CONFLICT DO NOTHING"

    private var declarations: [Step] {
        ["domain_profiles", "topology", "nodes"].map { self.insert($0, Self.nothing) }
    }

    // MARK: Merging

    private static let isBehind =
        "EXISTS (SELECT 1 FROM restoring_events e WHERE e.shard = s.shard AND e.event_id = s.event_id)"
    private static let sameVersion = """
        s.shard = c.shard AND s.event_id = c.event_id AND s.layer = c.layer AND s.source_node = c.source_node
        AND s.target_node = c.target_node AND s.estimator = c.estimator AND s.detected_at = c.detected_at
        """

    var merging: [Step] {
        self.declarations + [
            // Events whose graph is missing or older than the snapshot's.
            Step(
                table: "",
                text: """
                    CREATE TEMPORARY TABLE restoring_events ON COMMIT DROP AS
                    SELECT s.shard, s.event_id, s.window_end FROM restoring_event_graphs s
                    LEFT JOIN event_graphs g ON g.shard = s.shard AND g.event_id = s.event_id
                    WHERE g.event_id IS NULL OR g.window_end < s.window_end
                    """),
            // Whoever holds such a graph in memory finds that it is behind.
            Step(
                table: "",
                text: """
                    UPDATE shard_leases SET revision = revision + 1 WHERE shard IN (SELECT shard FROM restoring_events)
                    """),
            Step(
                table: "multi_layer_correlations", removes: true,
                text: """
                    DELETE FROM multi_layer_correlations c USING restoring_multi_layer_correlations s
                    WHERE \(Self.sameVersion) AND \(Self.isBehind)
                    """),
            // Current edges of those events that the snapshot does not have become history.
            Step(
                table: "multi_layer_correlations",
                text: """
                    UPDATE multi_layer_correlations c SET superseded_at = e.window_end, revision = l.revision
                    FROM restoring_events e JOIN shard_leases l ON l.shard = e.shard
                    WHERE c.shard = e.shard AND c.event_id = e.event_id AND c.superseded_at IS NULL
                    """),
            self.insert(
                "multi_layer_correlations", renumbers: true,
                where: "\(Self.isBehind) OR s.superseded_at IS NOT NULL", Self.nothing),
            self.insert(
                "event_graphs", renumbers: true, where: Self.isBehind,
                "ON CONFLICT (shard, event_id) DO UPDATE SET \(self.assignments("event_graphs", except: ["shard", "event_id"]))"
            ),
            self.insert(
                "detector_states",
                """
                ON CONFLICT (shard, domain) DO UPDATE SET \(self.assignments("detector_states", except: ["shard", "domain"]))
                WHERE t.window_end < excluded.window_end
                """),
            self.insert(
                "evaluations",
                where: """
                    NOT EXISTS (SELECT 1 FROM evaluations v WHERE v.shard = s.shard AND v.domain = s.domain
                                AND v.window_end >= s.window_end)
                    """, Self.nothing),
            self.insert("anomalies", Self.nothing), self.insert("forecasts", Self.nothing),
            self.insert("reader_positions", Self.nothing),
        ]
    }

    // MARK: Replacing

    /// Results that are wholly of the snapshot afterwards.
    private static let emptied = [
        "multi_layer_correlations", "event_graphs", "detector_states", "anomalies", "forecasts", "reader_positions",
    ]

    /// Rows that came after what the snapshot knows of their shard and domain; they are made again.
    private static func later(_ table: String) -> Step {
        Step(
            table: table, removes: true,
            text: """
                DELETE FROM \(table) t WHERE NOT EXISTS (
                    SELECT 1 FROM restoring_evaluations s
                    WHERE s.shard = t.shard AND s.domain = t.domain AND s.window_end >= t.window_end)
                """)
    }

    var replacing: [Step] {
        self.declarations
            + Self.emptied.map { Step(table: $0, removes: true, text: "DELETE FROM \($0)") }
            + ["evaluations", "findings", "event_scores"].map(Self.later) + [
                Step(
                    table: "node_scores", removes: true,
                    text: """
                        DELETE FROM node_scores t USING nodes n
                        WHERE n.shard = t.shard AND n.node_id = t.node_id AND NOT EXISTS (
                            SELECT 1 FROM restoring_evaluations s
                            WHERE s.shard = t.shard AND s.domain = n.domain AND s.window_end >= t.window_end)
                        """),
                Step(
                    table: "graph_history", removes: true,
                    text: """
                        DELETE FROM graph_history t WHERE NOT EXISTS (
                            SELECT 1 FROM restoring_event_graphs s
                            WHERE s.shard = t.shard AND s.event_id = t.event_id AND s.window_end >= t.window_end)
                        """),
                self.insert("multi_layer_correlations", renumbers: true, ""),
                self.insert("event_graphs", renumbers: true, ""), self.insert("detector_states", ""),
                self.insert("evaluations", Self.nothing), self.insert("anomalies", ""), self.insert("forecasts", ""),
                self.insert("reader_positions", ""),
            ]
    }
}
