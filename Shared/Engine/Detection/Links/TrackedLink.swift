import Model

/// A directed pair of nodes that was accepted as an edge.
struct LinkKey: Sendable, Hashable, Codable, Comparable {
    var source: NodeKey
    var target: NodeKey

    static func < (left: Self, right: Self) -> Bool {
        (left.source, left.target) < (right.source, right.target)
    }
}

/// What is remembered about one link between buckets.
struct TrackedLink: Sendable, Hashable, Codable {
    /// The edge as it was accepted last.
    var edge: Edge
    /// At which buckets its baseline is looked at again: a number that is the same in every process.
    var turn: Int64
    /// Correlation of the whitened series on the baseline at the edge's lag; nil until it was computed.
    var baseline: Double?
    /// Places it was computed from.
    var baselineCount = 0.0
    /// What a break is judged by, and both its sums so far.
    var model: BreakModel?
    var sums = SIMD2<Double>.zero
    /// The lag shift found when lags were compared last, and still to be reported.
    var shift: Shift?

    struct Shift: Sendable, Hashable, Codable {
        /// Positive: the source of the edge moves first.
        var presentLag: Int
        var presentScore: Double
        var scoreAtBaselineLag: Double
        var lagLow: Int
        var lagHigh: Int
        var statistic: Double
        var level: Double
    }

    init(edge: Edge) {
        self.edge = edge
        self.turn = (edge.source.id.rawValue ^ edge.target.id.rawValue) & 0xFFFF
    }

    mutating func forgetBaseline() {
        self.baseline = nil
        self.baselineCount = 0
        self.model = nil
        self.sums = .zero
        self.shift = nil
    }

    func validate(lagLimit: Int) throws(DetectorStateError) {
        let lags = [self.shift?.presentLag, self.shift?.lagLow, self.shift?.lagHigh].compactMap { $0 }
        try DetectorStateError.require(
            (0...lagLimit).contains(self.edge.lagBuckets) && lags.allSatisfy((-lagLimit...lagLimit).contains), "link",
            "a lag that is tried")
        try DetectorStateError.require(
            DetectorStateError.times.contains(self.edge.bucketMs)
                && DetectorStateError.times.contains(self.edge.windowEnd.milliseconds), "link", "times within reason")
    }

    var key: LinkKey { LinkKey(source: self.edge.source, target: self.edge.target) }
}

/// Look-ups of a ``LinkDetector`` that can be made anew at any time.
struct LinkCache: Sendable {
    /// Place of each link.
    var index: [LinkKey: Int]
    /// Rows of the last block each link's ends are at, -1 where the block has none.
    private(set) var rows: [(source: Int, target: Int)] = []
    /// Followed links that share the more crowded end's budget, per link.
    private(set) var sharers: [Int] = []
    private var nodes: [NodeKey] = []
    /// Levels by number of sharers: a quantile is costly.
    private var levels: [Int: Double] = [:]
    private var bucketMs: Int64 = 0
    private var budget = AlarmBudget()

    init(links: [TrackedLink]) {
        self.index = [:]
        for (place, link) in links.enumerated() { self.index[link.key] = place }
    }

    mutating func add(_ key: LinkKey, at place: Int) {
        self.index[key] = place
        self.rows = []
    }

    /// Makes the look-ups for a block; nothing to do when nodes and links are those of the last one.
    mutating func meet(_ block: SeriesBlock, links: [TrackedLink], budget: AlarmBudget) {
        if self.bucketMs != block.bucketMs || self.budget != budget {
            self.levels = [:]
            self.bucketMs = block.bucketMs
            self.budget = budget
        }
        guard self.rows.count != links.count || self.nodes != block.nodes else { return }
        self.nodes = block.nodes
        var number: [NodeKey: Int] = [:]
        for (row, node) in block.nodes.enumerated() { number[node] = row }
        var crowd: [NodeKey: Int] = [:]
        for link in links {
            crowd[link.edge.source, default: 0] += 1
            crowd[link.edge.target, default: 0] += 1
        }
        self.rows = links.map { (number[$0.edge.source] ?? -1, number[$0.edge.target] ?? -1) }
        self.sharers = links.map { max(crowd[$0.edge.source] ?? 1, crowd[$0.edge.target] ?? 1) }
    }

    /// The level of a standard normal statistic that shares its node's budget with `sharers` in all.
    mutating func normalLevel(sharers: Int) -> Double {
        if let level = self.levels[sharers] { return level }
        let level = self.budget.normalLevel(bucketMs: self.bucketMs, sharers: sharers)
        self.levels[sharers] = level
        return level
    }

    /// The level of a link's evidence of a break.
    func breakLevel(sharers: Int) -> Double { self.budget.sequentialLevel(bucketMs: self.bucketMs, sharers: sharers) }
}
