import Model

/// The alarm levels of links, moved by the alarms that their nodes really gave: adaptive conformal inference (Gibbs and Candes
/// 2021) on episodes instead of buckets, as ``ResidualAlarm`` does for single nodes.
///
/// Every node has a raise, 0 at first. The level of a link is its base plus the larger raise of its two ends. An alarm raises both
/// ends by `step` when it opens, and the open link itself stays at the level it opened at; time lowers every raise by `step` x budget a
/// day, not below 0. What a statistic has beyond its base counts up to `room`.
///
/// So whatever the series are, no more than budget x days + room / step + 1 alarms of one kind, event and domain are about links of one node: an alarm opens
/// only where both raises are below `room`, and adds `step` to each; what was added in all is what is left, below `room` + `step`,
/// plus what time took away, at most `step` x budget x days. Links of one node that break together are told strongest first, the
/// others once their evidence has grown by another `step`: a raised level delays, and as no raise reaches `room` + `step`, time alone
/// makes any node heard again.
public struct LinkAlarms: Sendable, Hashable, Codable {
    /// Of the statistic.
    public enum Unit: String, Sendable, Codable {
        /// Logarithms of a likelihood ratio: a link of .9 that is cut gains 15 within about 20 buckets.
        case nats
        /// Standard deviations.
        case deviations

        public var step: Double { self == .nats ? 15 : 3 }
        public var room: Double { 2 * self.step }
    }

    /// What one link's statistic has beyond its base level.
    struct Excess {
        var link: LinkKey
        /// Above 0.
        var size: Double
    }

    /// A link on its way into an episode, or in one.
    private struct Run: Sendable, Hashable, Codable {
        /// Of the level it is compared with; fixed once the episode is open.
        var raise: Double
        var beyond: Int
        var below: Int
        var isOpen: Bool
    }

    static let openAfter = 3
    static let closeAfter = 3
    /// Raises kept at most; beyond it the least go first.
    static let nodeLimit = 40_000

    public let unit: Unit
    /// Above 0; nodes without an entry have none.
    private var raises: [NodeKey: Double]
    private var runs: [LinkKey: Run]

    public init(_ unit: Unit) {
        self.unit = unit
        self.raises = [:]
        self.runs = [:]
    }

    /// What was read back from storage is used only where this does not throw.
    public func validate() throws(DetectorStateError) {
        let highest = self.unit.room + self.unit.step
        try DetectorStateError.require(
            self.raises.count <= Self.nodeLimit && self.raises.values.allSatisfy { $0 > 0 && $0 <= highest },
            "alarms of links", "raises above 0 and no higher than alarms make them")
        try DetectorStateError.require(
            self.runs.values.allSatisfy {
                (0..<self.unit.room).contains($0.raise) && DetectorStateError.counts.contains($0.beyond)
                    && (0..<Self.closeAfter).contains($0.below)
            }, "alarms of links", "runs of numbers of buckets")
    }

    /// How much higher than its base the level of a link is.
    func raise(of link: LinkKey) -> Double {
        if let run = self.runs[link], run.isOpen { return run.raise }
        guard !self.raises.isEmpty else { return 0 }
        return max(self.raises[link.source] ?? 0, self.raises[link.target] ?? 0)
    }

    /// Takes in one evaluated bucket.
    ///
    /// - Parameter excesses: of all links beyond their base, each link once, in any order.
    /// - Returns: one for each of `excesses`: the raise of the level it is beyond; nil: it is below.
    mutating func observe(_ excesses: [Excess], bucketMs: Int64, budget: AlarmBudget) -> [Double?] {
        precondition(bucketMs > 0, "a bucket has a width")
        self.fall(by: self.unit.step * budget.alarmsPerNodeDay * Double(bucketMs) / 86_400_000)
        guard !excesses.isEmpty || !self.runs.isEmpty else { return [] }
        var answers = [Double?](repeating: nil, count: excesses.count)
        var seen: Set<LinkKey> = []
        var waiting: [Int] = []
        for (place, excess) in excesses.enumerated() {
            guard let run = self.runs[excess.link], run.isOpen else {
                waiting.append(place)
                continue
            }
            guard excess.size > run.raise else { continue }
            self.runs[excess.link]?.below = 0
            seen.insert(excess.link)
            answers[place] = run.raise
        }
        // The strongest first: its alarm raises the level of its neighbours at this bucket already.
        waiting.sort { (excesses[$1].size, excesses[$0].link) < (excesses[$0].size, excesses[$1].link) }
        for place in waiting {
            let link = excesses[place].link
            let raise = self.raise(of: link)
            guard min(excesses[place].size, self.unit.room) > raise else { continue }
            seen.insert(link)
            answers[place] = raise
            self.approach(link, raise: raise)
        }
        self.settle(seen)
        return answers
    }

    /// One more bucket beyond for a link without an open episode.
    private mutating func approach(_ link: LinkKey, raise: Double) {
        var run = self.runs[link] ?? Run(raise: raise, beyond: 0, below: 0, isOpen: false)
        run.raise = raise
        run.beyond += 1
        if run.beyond >= Self.openAfter {
            run.isOpen = true
            for node in Set([link.source, link.target]) { self.raises[node, default: 0] += self.unit.step }
            self.shrink()
        }
        self.runs[link] = run
    }

    /// Counts the bucket for every link that was below.
    private mutating func settle(_ seen: Set<LinkKey>) {
        for (link, run) in self.runs where !seen.contains(link) {
            let below = run.below + 1
            if run.isOpen, below < Self.closeAfter {
                self.runs[link]?.below = below
            } else {
                self.runs[link] = nil
            }
        }
    }

    private mutating func fall(by amount: Double) {
        guard !self.raises.isEmpty else { return }
        var isOver = false
        for place in self.raises.values.indices {
            self.raises.values[place] -= amount
            if self.raises.values[place] <= 0 { isOver = true }
        }
        if isOver { self.raises = self.raises.filter { $0.value > 0 } }
    }

    private mutating func shrink() {
        guard self.raises.count > Self.nodeLimit else { return }
        let least = self.raises.sorted { ($0.value, $1.key) < ($1.value, $0.key) }
        for (node, _) in least.prefix(self.raises.count - Self.nodeLimit) { self.raises[node] = nil }
    }
}

extension LinkAlarms {
    /// Of findings about links beyond their base level, those beyond the level that the alarms of their nodes left, with this
    /// level.
    ///
    /// - Parameter findings: all of one kind at one evaluated bucket, each link once; none: a quiet bucket, which counts too.
    /// - Precondition: `bucketMs` is above 0.
    public mutating func keep(_ findings: [Finding], bucketMs: Int64, budget: AlarmBudget) -> [Finding] {
        let excesses = findings.map { finding in
            Excess(
                link: LinkKey(source: finding.node, target: finding.target ?? finding.node),
                size: finding.statistic - finding.level)
        }
        let raises = self.observe(excesses, bucketMs: bucketMs, budget: budget)
        return zip(findings, raises).compactMap { finding, raise in
            guard let raise else { return nil }
            var kept = finding
            kept.level += raise
            return kept
        }
    }
}
