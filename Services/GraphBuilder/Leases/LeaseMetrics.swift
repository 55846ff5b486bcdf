import Metrics

/// How often shards change hands. Quiet in a steady system; churn costs every new owner the reading of its detectors.
struct LeaseMetrics: Sendable {
    let claimed: Counter
    let released: Counter
    /// Taken away: expired, or found under another epoch when writing.
    let lost: Counter
    let renewalFailures: Counter

    init(factory: any MetricsFactory = MetricsSystem.factory) {
        func changes(_ change: String) -> Counter {
            Counter(label: "graph_builder_lease_changes_total", dimensions: [("change", change)], factory: factory)
        }
        self.claimed = changes("claimed")
        self.released = changes("released")
        self.lost = changes("lost")
        self.renewalFailures = Counter(
            label: "graph_builder_lease_renewal_failures_total", dimensions: [], factory: factory)
    }
}
