import Model

/// The values of an edge that can change, without the times at which it was seen.
public struct EdgeValues: Hashable, Sendable, Codable {
    public var relation: Edge.Relation
    public var score: Double
    public var lagBuckets: Int
    public var latencyMs: Double
    public var expectedPropagation: Double
    public var confidence: Double
    public var effectiveSize: Double
    public var intervalLow: Double
    public var intervalHigh: Double

    public init(
        relation: Edge.Relation, score: Double, lagBuckets: Int, latencyMs: Double, expectedPropagation: Double,
        confidence: Double, effectiveSize: Double, intervalLow: Double, intervalHigh: Double
    ) {
        self.relation = relation
        self.score = score
        self.lagBuckets = lagBuckets
        self.latencyMs = latencyMs
        self.expectedPropagation = expectedPropagation
        self.confidence = confidence
        self.effectiveSize = effectiveSize
        self.intervalLow = intervalLow
        self.intervalHigh = intervalHigh
    }

    public init(_ edge: Edge) {
        self.init(
            relation: edge.relation, score: edge.score, lagBuckets: edge.lagBuckets, latencyMs: edge.latencyMs,
            expectedPropagation: edge.expectedPropagation, confidence: edge.confidence,
            effectiveSize: edge.effectiveSize, intervalLow: edge.intervalLow, intervalHigh: edge.intervalHigh)
    }
}

/// What two graphs of one event do not have in common.
public struct GraphDifference: Hashable, Sendable {
    /// An edge's name within a graph.
    public struct Place: Hashable, Comparable, Sendable {
        public var layer: Layer
        public var source: NodeKey
        public var target: NodeKey
        public var estimator: Edge.Estimator

        public init(layer: Layer, source: NodeKey, target: NodeKey, estimator: Edge.Estimator) {
            self.layer = layer
            self.source = source
            self.target = target
            self.estimator = estimator
        }

        public init(_ edge: Edge) {
            self.init(layer: edge.layer, source: edge.source, target: edge.target, estimator: edge.estimator)
        }

        public static func < (left: Place, right: Place) -> Bool {
            if left.layer != right.layer { return left.layer < right.layer }
            if left.source != right.source { return left.source < right.source }
            if left.target != right.target { return left.target < right.target }
            return left.estimator.rawValue < right.estimator.rawValue
        }
    }

    /// One edge as both graphs have it; nil where it is missing. At least one side is there.
    public struct Entry: Hashable, Sendable {
        public var place: Place
        public var from: EdgeValues?
        public var to: EdgeValues?
    }

    /// By place; edges that are equal to the last digit are left out.
    public let entries: [Entry]
    /// Edges both have with the same values.
    public let unchanged: Int

    /// - Parameters:
    ///   - from: edges of the earlier graph by place.
    ///   - to: of the later one.
    ///   - keepsEqual: also list edges with equal values.
    public init(from: [Place: EdgeValues], to: [Place: EdgeValues], keepsEqual: Bool = false) {
        var entries: [Entry] = []
        var unchanged = 0
        for place in Set(from.keys).union(to.keys).sorted() {
            if !keepsEqual, from[place] == to[place] {
                unchanged += 1
            } else {
                entries.append(Entry(place: place, from: from[place], to: to[place]))
            }
        }
        self.entries = entries
        self.unchanged = unchanged
    }

    public static func edges(_ graph: CorrelationGraph) -> [Place: EdgeValues] {
        Dictionary(graph.edges.map { (Place($0), EdgeValues($0)) }) { first, _ in first }
    }
}
