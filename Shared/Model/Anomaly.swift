/// The kinds of finding. `move` is no anomaly: an observed move of a node, from which forecasts are made.
public enum FindingKind: String, CaseIterable, Sendable, Codable {
    case correlationBreak, hiddenEdge, leadLagShift, nodeResidual, move
}

/// What graph-builder saw at one closed bucket beyond an alarm level. Episodes are made of these by anomaly-propagation;
/// a bucket without a row was below.
public struct Finding: Hashable, Sendable, Codable {
    public var kind: FindingKind
    /// Whose graph it belongs to.
    public var event: String
    /// The node, or the source of the edge.
    public var node: NodeKey
    /// The target of the edge; nil for node findings.
    public var target: NodeKey?
    public var layer: Layer?
    /// End of the closed bucket it was seen at.
    public var windowEnd: Timestamp
    public var bucketMs: Int64
    /// The statistic and the alarm level it passed, in the same unit (named in `values`' documentation per kind).
    public var statistic: Double
    public var level: Double
    /// The values that made it one: `baselineScore`, `presentScore`, `effectiveSize` ...
    public var values: [String: Double]
    /// The reason in words, for a person.
    public var reason: String
    /// For a `move`: the edges that lead from the node at this window end, strongest first, at most 20.
    public var edges: [Edge]

    public init(
        kind: FindingKind, event: String, node: NodeKey, target: NodeKey? = nil, layer: Layer? = nil,
        windowEnd: Timestamp, bucketMs: Int64, statistic: Double, level: Double, values: [String: Double],
        reason: String, edges: [Edge] = []
    ) {
        self.kind = kind
        self.event = event
        self.node = node
        self.target = target
        self.layer = layer
        self.windowEnd = windowEnd
        self.bucketMs = bucketMs
        self.statistic = statistic
        self.level = level
        self.values = values
        self.reason = reason
        self.edges = edges
    }

    /// What makes findings of successive buckets one episode.
    public var subject: FindingSubject {
        FindingSubject(kind: self.kind, event: self.event, node: self.node, target: self.target)
    }
}

public struct FindingSubject: Hashable, Sendable, Codable {
    public var kind: FindingKind
    public var event: String
    public var node: NodeKey
    public var target: NodeKey?

    public init(kind: FindingKind, event: String, node: NodeKey, target: NodeKey?) {
        self.kind = kind
        self.event = event
        self.node = node
        self.target = target
    }
}

/// An episode: opened after three closed buckets beyond the alarm level, closed after three below (node residuals: an hour).
public struct Anomaly: Hashable, Sendable, Codable {
    /// Hex of the first 16 bytes of SHA-256 over kind, subject and opening time: every replica finds the same id.
    public var id: String
    public var kind: FindingKind
    public var event: String
    public var node: NodeKey
    public var target: NodeKey?
    public var layer: Layer?
    /// End of the first bucket beyond the level, and the third, at which it was opened.
    public var startedAt: Timestamp
    public var openedAt: Timestamp
    /// End of the last bucket beyond the level; nil while open.
    public var closedAt: Timestamp?
    public var severity: Severity
    /// The largest statistic so far, its level, and the values at that bucket.
    public var peakStatistic: Double
    public var level: Double
    public var values: [String: Double]
    public var reason: String

    public init(
        id: String, kind: FindingKind, event: String, node: NodeKey, target: NodeKey?, layer: Layer?,
        startedAt: Timestamp, openedAt: Timestamp, closedAt: Timestamp?, severity: Severity, peakStatistic: Double,
        level: Double, values: [String: Double], reason: String
    ) {
        self.id = id
        self.kind = kind
        self.event = event
        self.node = node
        self.target = target
        self.layer = layer
        self.startedAt = startedAt
        self.openedAt = openedAt
        self.closedAt = closedAt
        self.severity = severity
        self.peakStatistic = peakStatistic
        self.level = level
        self.values = values
        self.reason = reason
    }
}
