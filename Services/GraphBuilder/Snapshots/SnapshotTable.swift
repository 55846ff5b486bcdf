/// One table of a snapshot: what of it is taken, and in which order.
///
/// Results (edges, baselines, anomalies, forecasts) and what they cannot be read without: the names of nodes, declarations, the
/// headers of graphs, and how far evaluation and its reader had come. Observations are not among them, nor what is made from
/// them bucket by bucket: that is what a backup of the database is for.
struct SnapshotTable: Hashable, Sendable {
    /// As in the database; a snapshot's file is named after it.
    let name: String
    /// What the manifest and people call it.
    let content: String
    /// Order of rows, so that two snapshots of one state are equal files.
    let order: String
    /// Rows that are taken.
    var source: String { self.selection ?? self.name }
    private let selection: String?

    private init(_ name: String, _ content: String, order: String, selection: String? = nil) {
        self.name = name
        self.content = content
        self.order = order
        self.selection = selection
    }

    /// In the order of restoring.
    static let all: [SnapshotTable] = [
        SnapshotTable("domain_profiles", "declarations", order: "domain"),
        SnapshotTable("topology", "declarations", order: "name, caller, callee"),
        SnapshotTable("nodes", "nodes", order: "shard, node_id"),
        SnapshotTable("event_graphs", "graphs", order: "shard, event_id"),
        SnapshotTable(
            "multi_layer_correlations", "edges",
            order: "shard, event_id, layer, source_node, target_node, estimator, detected_at"),
        SnapshotTable("detector_states", "baselines", order: "shard, domain"),
        // How far every shard and domain has been evaluated; the rows before are of no use without observations.
        SnapshotTable(
            "evaluations", "positions", order: "shard, domain",
            selection: """
                (SELECT DISTINCT ON (shard, domain) * FROM evaluations ORDER BY shard, domain, window_end DESC) AS newest
                """),
        SnapshotTable("anomalies", "anomalies", order: "shard, id"),
        SnapshotTable("forecasts", "forecasts", order: "shard, id"),
        SnapshotTable("reader_positions", "positions", order: "shard, reader"),
    ]

    /// Rows are kept in COPY's text format: exact for every type we use, the same for all versions of the server, and readable.
    func copyOut(columns: [String]) -> String {
        """
        COPY (SELECT \(Self.list(columns)) FROM \(self.source) ORDER BY \(self.order)) TO STDOUT (FORMAT text)
        """
    }

    /// Where restored rows wait until all of them are there.
    var staging: String { "restoring_" + self.name }

    static func list(_ columns: [String], prefix: String = "") -> String {
        columns.map { "\(prefix)\"\($0.replacing("\"", with: "\"\""))\"" }.joined(separator: ", ")
    }
}
