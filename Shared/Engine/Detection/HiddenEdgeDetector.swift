import Model

/// Finds newly accepted edges that neither the pair's baseline nor the declared topology knows.
public struct HiddenEdgeDetector: Sendable {
    public let presentBuckets: Int
    public let baselineBuckets: Int
    public let budget: AlarmBudget

    public init(presentBuckets: Int = 120, baselineBuckets: Int = 720, budget: AlarmBudget = AlarmBudget()) {
        self.presentBuckets = presentBuckets
        self.baselineBuckets = baselineBuckets
        self.budget = budget
    }

    /// - Parameters:
    ///   - block: series of the nodes of `edges`, ending with this bucket.
    ///   - edges: the accepted edges of the event at this bucket.
    ///   - declared: pairs of events that are declared to be connected.
    ///   - partners: nodes each node was tested against; all of them share its budget.
    public func observe(
        event: String, block: SeriesBlock, edges: [Edge], declared: DeclaredPairs, partners: Int
    ) -> [Finding] { [] }
}
