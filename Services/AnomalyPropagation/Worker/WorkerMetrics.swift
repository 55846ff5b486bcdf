import Foundation
import Metrics
import Model
import Synchronization

/// The worker's own metrics, made once and passed in.
struct WorkerMetrics: Sendable {
    private let opened: [FindingKind: Counter]
    private let evaluations: Counter
    private let findings: Counter
    private let made: Counter
    private let scored: (known: Counter, unknown: Counter)
    private let covered: (inside: Counter, outside: Counter)
    private let signs: (hit: Counter, missed: Counter)
    private let coverage: Gauge
    private let hitRate: Gauge
    private let lag: Gauge
    private let delay: Gauge
    private let progress: Gauge
    private let openEpisodes: Gauge
    private let refused: Gauge
    private let failures: Counter
    private let round: Timer
    private let totals = Totals()

    /// Counts since the start, for the two shares.
    private final class Totals: Sendable {
        struct Counts {
            var inside = 0
            var outside = 0
            var hits = 0
            var misses = 0
        }
        let counts = Mutex(Counts())
    }

    init(factory: any MetricsFactory = MetricsSystem.factory) {
        func counter(_ label: String, _ dimensions: [(String, String)] = []) -> Counter {
            Counter(label: label, dimensions: dimensions, factory: factory)
        }
        func gauge(_ label: String) -> Gauge { Gauge(label: label, dimensions: [], factory: factory) }
        self.opened = Dictionary(
            uniqueKeysWithValues: FindingKind.allCases.filter { $0 != .move }.map {
                ($0, counter("anomalies_opened_total", [("kind", $0.rawValue)]))
            })
        self.evaluations = counter("worker_evaluations_total")
        self.findings = counter("worker_findings_total")
        self.made = counter("forecasts_made_total")
        self.scored = (
            counter("forecasts_scored_total", [("outcome", "known")]),
            counter("forecasts_scored_total", [("outcome", "unknown")])
        )
        self.covered = (
            counter("forecast_intervals_total", [("result", "inside")]),
            counter("forecast_intervals_total", [("result", "outside")])
        )
        self.signs = (
            counter("forecast_signs_total", [("result", "hit")]),
            counter("forecast_signs_total", [("result", "missed")])
        )
        self.coverage = gauge("forecast_interval_coverage_ratio")
        self.hitRate = gauge("forecast_sign_hit_ratio")
        self.lag = gauge("worker_lag_revisions")
        self.delay = gauge("worker_lag_seconds")
        self.progress = gauge("worker_last_progress_timestamp_seconds")
        self.openEpisodes = gauge("anomalies_open")
        self.refused = gauge("worker_refused_findings")
        self.failures = counter("worker_failures_total")
        self.round = Timer(
            label: "worker_round_duration_seconds", dimensions: [], preferredDisplayUnit: .seconds, factory: factory)
    }

    func recordRead(evaluations: Int, findings: Int) {
        self.evaluations.increment(by: evaluations)
        self.findings.increment(by: findings)
    }

    func recordOpened(_ kind: FindingKind) { self.opened[kind]?.increment() }

    func recordMade(_ count: Int) { self.made.increment(by: count) }

    /// One forecast that this replica scored, as the database decided it.
    func recordScored(isKnown: Bool, covered: Bool?, signHit: Bool?) {
        (isKnown ? self.scored.known : self.scored.unknown).increment()
        if let covered { (covered ? self.covered.inside : self.covered.outside).increment() }
        if let signHit { (signHit ? self.signs.hit : self.signs.missed).increment() }
        let counts = self.totals.counts.withLock { counts in
            if let covered { if covered { counts.inside += 1 } else { counts.outside += 1 } }
            if let signHit { if signHit { counts.hits += 1 } else { counts.misses += 1 } }
            return counts
        }
        if counts.inside + counts.outside > 0 {
            self.coverage.record(Double(counts.inside) / Double(counts.inside + counts.outside))
        }
        if counts.hits + counts.misses > 0 {
            self.hitRate.record(Double(counts.hits) / Double(counts.hits + counts.misses))
        }
    }

    /// - Parameters:
    ///   - revisions: revisions of all shards not taken in yet.
    ///   - seconds: wall time since the worker was last level with the log; 0 when it is.
    func recordLag(revisions: Int64, seconds: Double) {
        self.lag.record(Double(revisions))
        self.delay.record(seconds)
    }

    func recordEpisodes(open: Int, refused: Int) {
        self.openEpisodes.record(Double(open))
        self.refused.record(Double(refused))
    }

    /// A round ended well. The lag is set inside of rounds and stands still while one hangs; this one tells.
    func recordProgress(now: Date = Date()) { self.progress.record(now.timeIntervalSince1970) }

    func recordFailure() { self.failures.increment() }

    func recordRound(_ duration: Duration) { self.round.record(duration: duration) }
}
