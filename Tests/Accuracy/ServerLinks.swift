import Engine
import Model

/// The links of one server, followed by the detectors of the running product with its settings; episodes are counted.
struct ServerLinks {
    static let kinds: [FindingKind] = [.correlationBreak, .leadLagShift, .hiddenEdge]

    private let event: String
    private let hidden: HiddenEdgeDetector
    private var links: LinkDetector
    private var hiddenAlarms = LinkAlarms(.deviations)
    private var episodes = EpisodeTracker()

    init(event: String, profile: DomainProfile) {
        self.event = event
        self.hidden = HiddenEdgeDetector(
            presentBuckets: profile.presentBuckets, baselineBuckets: profile.baselineBuckets)
        self.links = LinkDetector(
            event: event,
            settings: .init(
                presentBuckets: profile.presentBuckets, baselineBuckets: profile.baselineBuckets,
                lagBuckets: profile.lagBuckets))
    }

    /// Takes in one closed bucket; returns the kinds of the episodes it opened.
    mutating func observe(_ block: SeriesBlock, edges: [Edge]) -> [FindingKind] {
        let found = self.hidden.observe(
            event: self.event, block: block, edges: edges, declared: DeclaredPairs(),
            partners: max(1, block.nodes.count - 1))
        let findings =
            self.links.observe(block: block, edges: edges)
            + self.hiddenAlarms.keep(found, bucketMs: block.bucketMs, budget: self.hidden.budget)
        return self.episodes.advance(to: block.windowEnd, findings: findings).opened.map(\.kind)
    }
}
