import CoreMetrics

/// Counts answered graphs by where they came from: the share of `cold` ones says how often the owner was not the one asked.
struct GraphAnswerCounts: Sendable {
    private let counters: [GraphRoutes.Source: Counter]

    init(factory: any MetricsFactory = MetricsSystem.factory) {
        self.counters = Dictionary(
            uniqueKeysWithValues: GraphRoutes.Source.allCases.map { source in
                (
                    source,
                    Counter(
                        label: "correlation_engine_graph_answers_total", dimensions: [("source", source.rawValue)],
                        factory: factory)
                )
            })
    }

    func note(_ source: GraphRoutes.Source) { self.counters[source]?.increment() }
}
