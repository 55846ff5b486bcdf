/// What the column `findings.detail` holds as JSON: everything of a ``Finding`` that is not a column of its own, with the
/// names of its nodes, so that its reader needs no second look-up.
public struct FindingDetail: Hashable, Sendable, Codable {
    public var node: NodeKey
    public var target: NodeKey?
    public var values: [String: Double]
    public var reason: String
    /// For a move: the edges that lead from the node. Left out when there are none.
    public var edges: [Edge]?

    public init(_ finding: Finding) {
        self.node = finding.node
        self.target = finding.target
        self.values = finding.values
        self.reason = finding.reason
        self.edges = finding.edges.isEmpty ? nil : finding.edges
    }

    /// The finding, given its columns.
    public func finding(
        kind: FindingKind, event: String, layer: Layer?, windowEnd: Timestamp, bucketMs: Int64, statistic: Double,
        level: Double
    ) -> Finding {
        Finding(
            kind: kind, event: event, node: self.node, target: self.target, layer: layer, windowEnd: windowEnd,
            bucketMs: bucketMs, statistic: statistic, level: level, values: self.values, reason: self.reason,
            edges: self.edges ?? [])
    }
}
