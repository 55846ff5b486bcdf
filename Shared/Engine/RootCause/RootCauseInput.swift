import Model

/// One series of a root-cause question, with what is declared about it.
public struct RootCauseNode: Hashable, Sendable {
    public let key: NodeKey
    /// What the events of the node's domain are.
    public let role: DomainProfile.Role
    public let facts: MarketFacts

    /// Whether its event can be at fault.
    var isCandidate: Bool { self.role == .component || self.role == .remote }

    public init(key: NodeKey, role: DomainProfile.Role, facts: MarketFacts) {
        self.key = key
        self.role = role
        self.facts = facts
    }

    /// Facts and role from the profile of the node's domain.
    public init(key: NodeKey, profile: DomainProfile) {
        self.init(key: key, role: profile.role, facts: profile.facts(ofMarket: key.market))
    }
}

/// `caller` calls `callee`: impact flows from callee to caller, load from caller to callee.
public struct CallEdge: Hashable, Comparable, Sendable, Codable {
    public var caller: String
    public var callee: String

    public init(caller: String, callee: String) {
        self.caller = caller
        self.callee = callee
    }

    /// By the bytes of caller, then callee.
    public static func < (left: Self, right: Self) -> Bool {
        left.caller == right.caller
            ? left.callee.utf8.lexicographicallyPrecedes(right.callee.utf8)
            : left.caller.utf8.lexicographicallyPrecedes(right.caller.utf8)
    }
}

/// The node whose trouble is to be explained. Only nodes of its market and venue then count as evidence.
public struct RootCauseTarget: Hashable, Sendable, Codable {
    public var event: String
    public var market: String
    public var venue: String

    public init(event: String, market: String, venue: String) {
        self.event = event
        self.market = market
        self.venue = venue
    }
}

/// n series over a baseline and the window after it: all that root-cause ranking reads.
public struct RootCauseInput: Sendable {
    /// n nodes. Their order is the order of declaration that settles ties.
    public let nodes: [RootCauseNode]
    /// n x `baselineLength`, a row a node, oldest bucket first; the last value of each bucket in the node's own unit, NaN
    /// where a bucket has none.
    public let baseline: [Double]
    public let baselineLength: Int
    /// n x `windowLength`, as `baseline`.
    public let window: [Double]
    public let windowLength: Int
    /// Declared calls; empty: the call series tell them, if there are any.
    public let callGraph: [CallEdge]
    public let target: RootCauseTarget?

    /// - Precondition: `baseline` and `window` hold one row of their length, 0 or more, per node.
    public init(
        nodes: [RootCauseNode], baseline: [Double], baselineLength: Int, window: [Double], windowLength: Int,
        callGraph: [CallEdge] = [], target: RootCauseTarget? = nil
    ) {
        precondition(baselineLength >= 0 && windowLength >= 0, "lengths are not negative")
        precondition(baseline.count == nodes.count * baselineLength, "the baseline holds one row per node")
        precondition(window.count == nodes.count * windowLength, "the window holds one row per node")
        self.nodes = nodes
        self.baseline = baseline
        self.baselineLength = baselineLength
        self.window = window
        self.windowLength = windowLength
        self.callGraph = callGraph
        self.target = target
    }
}

/// The constants of the method. The defaults were chosen once for all data; see docs/engine.md for what each one does. Counts are
/// 1 and more (`steps` 0 and more), `floor`, `bend` and `sharpness` above 0, `offset` and `prior` 0 and more.
public struct RootCauseParameters: Hashable, Sendable {
    /// Buckets a change must last.
    public var hold = 2
    /// Least scale, in log units: a change of 10 % is at most one unit.
    public var floor = 0.10
    /// Offset before the logarithm, as a share of the market's typical level.
    public var offset = 0.05
    /// Pooled pseudo-samples of the market's scale.
    public var prior = 5.0
    /// Where evidence bends from quadratic to logarithmic: z squared over this.
    public var bend = 9.0
    /// Local markets summed.
    public var localMarkets = 2
    /// Power of the walk's weights.
    public var sharpness = 2.0
    /// Longest walk.
    public var steps = 20

    public init() {}

    var areValid: Bool {
        let positive = [self.floor, self.bend, self.sharpness].allSatisfy { $0 > 0 && $0.isFinite }
        let natural = [self.offset, self.prior].allSatisfy { $0 >= 0 && $0.isFinite }
        return positive && natural && self.hold > 0 && self.localMarkets > 0 && self.steps >= 0
    }
}
