import Foundation
import Model

/// Watches the links of one event on one clock for correlation breaks and lead-lag shifts.
///
/// Links are the pairs accepted within the last baseline. Each node's series is whitened by the AR(1) coefficient of its baseline,
/// so that its own memory does not pass for a change.
///
/// Break: a sequential test of the baseline's correlation against half of it, at the baseline lag (``BreakModel``). Against
/// a z of 30 buckets, which this detector used before, it finds .9 -> 0 within 20 buckets in 92 to 97 % instead of 93 %
/// (Gaussian) and 62 % (Student's t, 3 degrees of freedom), at fewer false alarms (`make calibration`).
///
/// Shift: the lag of the largest |r| on the present window lies outside the baseline's lag interval (the lags whose |r| is
/// within 1.96 sd of the largest). The statistic is Williams's t for two correlations with a common series, present lag
/// against baseline lag, in standard deviations (Williams 1959, J. R. Stat. Soc. B 21). Series are clipped at the baseline's
/// median +- 2.5 robust sd for it.
///
/// Level: from the budget (``AlarmBudget/sequentialLevel(bucketMs:sharers:)`` for breaks); the links of a node share its
/// budget, and a shift shares it among the lags tried too. Both levels learn from the alarms that were given (``LinkAlarms``).
/// Nothing is said before the baseline is full. Whitening, baseline correlations and lags of a link are renewed every
/// `refreshBuckets` buckets, each link at its own turn given by the bucket number, so a bucket costs O(links x (recent +
/// baseline / refreshBuckets)).
public struct LinkDetector: Sendable, Codable {
    public struct Settings: Sendable, Hashable, Codable {
        /// Buckets a node's loudness is the mean over, and of the correlation a finding tells.
        public var recentBuckets: Int
        /// Buckets of the present window; the baseline ends before it.
        public var presentBuckets: Int
        /// Buckets of the baseline; full from three times the present on, as everywhere.
        public var baselineBuckets: Int
        /// Lags -lagBuckets ... lagBuckets are tried for a shift.
        public var lagBuckets: Int
        /// Whitened series are clipped at the baseline's median +- this many robust standard deviations.
        public var clip: Double
        public var budget: AlarmBudget
        /// Links followed at most; when full, the longest unaccepted go first.
        public var linkLimit: Int
        /// Buckets between two looks at a link's baseline and lags.
        public var refreshBuckets: Int

        /// - Precondition: `recentBuckets` is 10 or more and no longer than the present; `clip`, `linkLimit` and `refreshBuckets` are
        ///   above 0, the others 0 or more.
        public init(
            recentBuckets: Int = 30, presentBuckets: Int = 120, baselineBuckets: Int = 720, lagBuckets: Int = 5,
            clip: Double = 2.5, budget: AlarmBudget = AlarmBudget(), linkLimit: Int = 20_000, refreshBuckets: Int = 10
        ) {
            precondition(recentBuckets >= 10, "fewer places give no correlation")
            precondition(presentBuckets >= recentBuckets, "the baseline ends before the recent window begins")
            precondition(baselineBuckets >= 0, "a length is not negative")
            precondition(clip > 0 && linkLimit > 0 && refreshBuckets > 0 && lagBuckets >= 0, "sizes are positive")
            self.recentBuckets = recentBuckets
            self.presentBuckets = presentBuckets
            self.baselineBuckets = baselineBuckets
            self.lagBuckets = lagBuckets
            self.clip = clip
            self.budget = budget
            self.linkLimit = linkLimit
            self.refreshBuckets = refreshBuckets
        }

        func validate() throws(DetectorStateError) {
            let sizes = [
                self.recentBuckets, self.presentBuckets, self.baselineBuckets, self.lagBuckets, self.linkLimit,
                self.refreshBuckets,
            ]
            try DetectorStateError.require(
                sizes.allSatisfy(DetectorStateError.counts.contains), "settings of links", "sizes are counts")
            try DetectorStateError.require(
                self.recentBuckets >= 10 && self.presentBuckets >= self.recentBuckets && self.linkLimit > 0
                    && self.refreshBuckets > 0 && self.clip > 0 && self.budget.isValid, "settings of links",
                "as they can be made")
        }
    }

    public let event: String
    public let settings: Settings
    /// Followed links, in the order they were met.
    var links: [TrackedLink]
    var whitenings: [NodeKey: Whitening]
    /// Under which periods baselines were learnt, see ``SeriesBlock/removedPeriods``.
    private var removedPeriods: [String: Int] = [:]
    var breakAlarms: LinkAlarms
    var shiftAlarms: LinkAlarms
    /// Derived from the above and from the last block; made anew when missing.
    var cache: LinkCache

    private enum CodingKeys: String, CodingKey {
        case event, settings, links, whitenings, removedPeriods, breakAlarms, shiftAlarms
    }

    public init(from decoder: any Decoder) throws {
        let keyed = try decoder.container(keyedBy: CodingKeys.self)
        self.event = try keyed.decode(String.self, forKey: .event)
        self.settings = try keyed.decode(Settings.self, forKey: .settings)
        self.links = try keyed.decode([TrackedLink].self, forKey: .links)
        self.whitenings = try keyed.decode([NodeKey: Whitening].self, forKey: .whitenings)
        // Before that was stored, nothing was taken off.
        self.removedPeriods = try keyed.decodeIfPresent([String: Int].self, forKey: .removedPeriods) ?? [:]
        // States stored before levels learnt from alarms go on without any.
        self.breakAlarms = try keyed.decodeIfPresent(LinkAlarms.self, forKey: .breakAlarms) ?? LinkAlarms(.nats)
        self.shiftAlarms = try keyed.decodeIfPresent(LinkAlarms.self, forKey: .shiftAlarms) ?? LinkAlarms(.deviations)
        self.cache = LinkCache(links: self.links)
    }

    public init(event: String, settings: Settings = Settings()) {
        self.event = event
        self.settings = settings
        self.links = []
        self.whitenings = [:]
        self.breakAlarms = LinkAlarms(.nats)
        self.shiftAlarms = LinkAlarms(.deviations)
        self.cache = LinkCache(links: [])
    }

    /// What was read back from storage is used only where this does not throw.
    public func validate() throws(DetectorStateError) {
        try self.settings.validate()
        try DetectorStateError.require(
            self.links.count <= self.settings.linkLimit && self.cache.index.count == self.links.count, "links",
            "each once, no more than the limit")
        for link in self.links { try link.validate(lagLimit: self.settings.lagBuckets) }
        for whitening in self.whitenings.values {
            try DetectorStateError.require(
                whitening.recent == self.settings.recentBuckets, "whitening", "over the recent buckets")
        }
        try self.breakAlarms.validate()
        try self.shiftAlarms.validate()
    }

    /// Links being followed.
    public var followedLinks: Int { self.links.count }

    /// Takes in one closed bucket.
    ///
    /// `values` of a break: `baselineScore`, `recentScore` (whitened correlation by angle, ``BreakModel``), `score`, `confidence`, `effectiveSize` (of the edge as
    /// accepted last), `lagMs`; its statistic and level are logarithms of a likelihood ratio. Of a shift: `baselineLagMs`, `baselineLagLowMs`, `baselineLagHighMs`,
    /// `presentLagMs` (negative: the target moves first), `presentScore`, `scoreAtBaselineLag`, `directionReversed` (0 or 1),
    /// `score`, `confidence`.
    ///
    /// - Parameters:
    ///   - block: series of at least the nodes of `edges` and of pairs accepted within the last baseline, present + baseline
    ///     buckets long (a shorter baseline is used from three presents on), ending with this bucket.
    ///   - edges: the accepted edges of the event at this bucket.
    /// - Returns: findings beyond their level, ordered by kind, source, target.
    public mutating func observe(block: SeriesBlock, edges: [Edge]) -> [Finding] {
        self.follow(edges, until: block)
        self.relearn(block.removedPeriods)
        let baseline = min(self.settings.baselineBuckets, block.length - self.settings.presentBuckets - 1)
        guard baseline >= 3 * self.settings.presentBuckets, !self.links.isEmpty else {
            // Episodes end here too.
            _ = self.breakAlarms.observe([], bucketMs: block.bucketMs, budget: self.settings.budget)
            _ = self.shiftAlarms.observe([], bucketMs: block.bucketMs, budget: self.settings.budget)
            return []
        }
        self.cache.meet(block, links: self.links, budget: self.settings.budget)
        var look = LinkLook(settings: self.settings, event: self.event, block: block, baseline: baseline)
        let findings = look.evaluate(&self)
        return findings.sorted {
            ($0.kind.rawValue, $0.node, $0.target ?? $0.node) < ($1.kind.rawValue, $1.node, $1.target ?? $1.node)
        }
    }

    /// Forgets what was learnt from series of which less, or more, was taken off: they are other series.
    private mutating func relearn(_ removed: [String: Int]) {
        let changed = Set(removed.filter { (self.removedPeriods[$0.key] ?? 0) != $0.value }.keys)
        guard !changed.isEmpty else { return }
        self.removedPeriods.merge(removed) { $1 }
        for place in self.links.indices {
            let edge = self.links[place].edge
            if changed.contains(edge.source.domain) || changed.contains(edge.target.domain) {
                self.links[place].forgetBaseline()
            }
        }
        self.whitenings = self.whitenings.filter { !changed.contains($0.key.domain) }
    }

    /// Adds newly accepted links, renews known ones, forgets those not accepted within the last baseline.
    private mutating func follow(_ edges: [Edge], until block: SeriesBlock) {
        for edge in edges {
            let key = LinkKey(source: edge.source, target: edge.target)
            guard let place = self.cache.index[key] else {
                self.cache.add(key, at: self.links.count)
                self.links.append(TrackedLink(edge: edge))
                continue
            }
            if self.links[place].edge.lagBuckets != edge.lagBuckets {
                self.links[place].baseline = nil
                self.links[place].model = nil
            }
            self.links[place].edge = edge
        }
        let oldest = block.windowEnd.advanced(
            byMilliseconds: -Int64(self.settings.baselineBuckets) * block.bucketMs)
        let isFull = self.links.count > self.settings.linkLimit
        guard isFull || self.links.contains(where: { $0.edge.windowEnd < oldest }) else { return }
        self.links.removeAll { $0.edge.windowEnd < oldest }
        if self.links.count > self.settings.linkLimit {
            self.links.sort { ($1.edge.windowEnd, $0.key) < ($0.edge.windowEnd, $1.key) }
            self.links.removeLast(self.links.count - self.settings.linkLimit)
        }
        let touched = Set(self.links.flatMap { [$0.edge.source, $0.edge.target] })
        self.whitenings = self.whitenings.filter { touched.contains($0.key) }
        self.cache = LinkCache(links: self.links)
    }
}
