import Model

/// What the residual detector says about one node at one closed bucket.
public struct NodeResidual: Sendable, Hashable, Codable {
    public var node: NodeKey
    /// Half of `level` plus the other two parts, 0 ... 50.
    public var score: Double
    /// Surprise (-ln p, 0 ... 20) of the level itself, of what remains of it after the daily profile, and of what the node's
    /// own last value does not foretell, each smoothed over 5 or 20 minutes, whichever makes the score larger.
    public var level: Double
    public var seasonal: Double
    public var innovation: Double
    /// Leave-one-out residual: how far the node is from what all others predict, in standard deviations.
    public var neighbour: Double

    public init(
        node: NodeKey, score: Double, level: Double, seasonal: Double, innovation: Double, neighbour: Double
    ) {
        self.node = node
        self.score = score
        self.level = level
        self.seasonal = seasonal
        self.innovation = innovation
        self.neighbour = neighbour
    }
}

/// What the residual detector of one event and domain says at one closed bucket.
public struct NodeResidualScores: Sendable, Hashable, Codable {
    public enum State: String, Sendable, Codable {
        /// Too little history for any score.
        case learning
        /// Scores from the first period learnt from; they raise no findings.
        case provisional
        case ready
    }

    public var windowEnd: Timestamp
    public var state: State
    /// One per node known long enough, ascending; empty while learning.
    public var nodes: [NodeResidual]
    /// ln(1 + mean of squared node scores, 80 and 320 minutes included) + 0.5 ln(1 + surprise of the joint distance); nil while
    /// learning.
    public var eventScore: Double?
    /// The alarm level of nodes that have given no alarm of late; nil unless ready.
    public var level: Double?
    /// Node scores beyond the node's level.
    public var findings: [Finding]

    public init(windowEnd: Timestamp, state: State) {
        self.windowEnd = windowEnd
        self.state = state
        self.nodes = []
        self.eventScore = nil
        self.level = nil
        self.findings = []
    }
}
