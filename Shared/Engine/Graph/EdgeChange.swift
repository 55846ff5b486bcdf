import Model

/// One step in the life of an edge.
public struct EdgeChange: Hashable, Sendable {
    public enum Kind: String, CaseIterable, Hashable, Sendable, Codable {
        /// Accepted at this window end, and not standing before.
        case born
        /// |r| is surely larger, or smaller, than it was: the 95 % intervals have nothing in common.
        case strengthened, weakened
        /// No longer accepted, and |r| is surely smaller than it was.
        case broken
        /// The sign of r, or the direction of the lag, is the opposite now.
        case flipped
        /// Not accepted over a whole window, without certainty that it is weaker: noise, or nothing to measure.
        case expired
        /// r decays significantly faster than before, see ``HalfLife``.
        case halfLifeShrunk
    }

    public var kind: Kind
    public var windowEnd: Timestamp
    public var layer: Layer
    /// Who leads now; of an edge that is gone, who led.
    public var source: NodeKey
    public var target: NodeKey
    public var estimator: Edge.Estimator
    /// As of the last change, and now; lags are positive where the source leads. Nil where there is no such reading.
    public var before: PairReading?
    public var after: PairReading?
    /// The time in which r halves, while it surely decays.
    public var halfLifeMs: Double?

    public init(
        kind: Kind, windowEnd: Timestamp, layer: Layer, source: NodeKey, target: NodeKey, estimator: Edge.Estimator,
        before: PairReading?, after: PairReading?, halfLifeMs: Double?
    ) {
        self.kind = kind
        self.windowEnd = windowEnd
        self.layer = layer
        self.source = source
        self.target = target
        self.estimator = estimator
        self.before = before
        self.after = after
        self.halfLifeMs = halfLifeMs
    }
}
