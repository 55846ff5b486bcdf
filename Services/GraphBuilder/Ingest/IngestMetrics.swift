import Metrics

/// The ingest path's own metrics.
struct IngestMetrics: Sendable {
    private let accepted: Counter
    private let duplicates: Counter
    private let rejected: Counter
    private let batches: Counter
    private let redone: Counter
    private let refused: Counter
    private let replayed: Counter
    private let duration: Timer
    private let groupJobs: Recorder
    private let groupRows: Recorder

    init(factory: any MetricsFactory = MetricsSystem.factory) {
        func counter(_ label: String, _ dimensions: [(String, String)] = []) -> Counter {
            Counter(label: label, dimensions: dimensions, factory: factory)
        }
        self.accepted = counter("ingest_observations_total", [("outcome", "added")])
        self.duplicates = counter("ingest_observations_total", [("outcome", "known")])
        self.rejected = counter("ingest_observations_total", [("outcome", "rejected")])
        self.batches = counter("ingest_batches_total")
        self.redone = counter("ingest_batches_redone_total")
        self.refused = counter("ingest_requests_refused_total")
        self.replayed = counter("ingest_requests_replayed_total")
        self.duration = Timer(
            label: "ingest_request_duration_seconds", dimensions: [], preferredDisplayUnit: .seconds, factory: factory)
        self.groupJobs = Recorder(label: "ingest_commit_group_jobs", factory: factory)
        self.groupRows = Recorder(label: "ingest_commit_group_rows", factory: factory)
    }

    func stored(_ stored: IngestWriter.Stored) {
        self.accepted.increment(by: stored.added)
        self.duplicates.increment(by: stored.duplicates)
        self.batches.increment()
    }

    func committing(jobs: Int, rows: Int) {
        self.groupJobs.record(jobs)
        self.groupRows.record(rows)
    }

    func redoing() { self.redone.increment() }
    func refusing() { self.refused.increment() }
    func replay() { self.replayed.increment() }

    func finished(rejected: Int, duration: Duration) {
        self.rejected.increment(by: rejected)
        self.duration.record(duration: duration)
    }
}
