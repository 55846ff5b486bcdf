import Engine
import Foundation
import Model
import Recordings

/// How a forecast did, and over which time.
struct ServerForecastScore: Codable {
    var moved: Timestamp
    var horizon: Timestamp
    var score: ForecastScore
}

/// The product's forecasts streamed over a server's recording. Edges, noise levels and intervals come from what was before a
/// move; moves of the first half only teach, those of the second are scored.
struct ServerForecasts {
    private let evaluations: ServerEvaluations
    private let detector: MoveDetector
    private var calibrators: [ForecastPair: ForecastCalibrator] = [:]
    private var pending: [Forecast] = []
    private(set) var scores: [ServerForecastScore] = []
    /// Buckets a base rate is taken from.
    private static let pastBuckets = 240

    init(_ evaluations: ServerEvaluations) {
        self.evaluations = evaluations
        self.detector = MoveDetector(
            transform: .level, baselineBuckets: evaluations.profile.baselineBuckets,
            leastBuckets: 3 * evaluations.shape.present)
    }

    private var server: ServerRecording { self.evaluations.server }

    /// Takes in one closed bucket. Edges do not depend on what moved, and are only asked for then.
    mutating func observe(_ block: SeriesBlock, edges: () -> [String: [Edge]]) {
        self.score(through: block.windowEnd)
        let events = self.evaluations.events.filter {
            !self.detector.observe(block: block, event: $0, edges: []).isEmpty
        }
        guard !events.isEmpty else { return }
        let edges = edges()
        for event in events {
            for move in self.detector.observe(block: block, event: event, edges: edges[event] ?? []) {
                self.pending += Forecast.forecasts(after: move, calibrators: &self.calibrators)
            }
        }
    }

    private mutating func score(through now: Timestamp) {
        for forecast in self.pending where forecast.horizonAt <= now {
            guard let outcome = self.outcome(forecast) else { continue }
            self.calibrators[ForecastPair(source: forecast.source, target: forecast.target)]?.learn(
                forecast, outcome: outcome)
            guard self.row(forecast.movedAt) >= self.server.rows / 2 else { continue }
            self.scores.append(
                ServerForecastScore(
                    moved: forecast.movedAt, horizon: forecast.horizonAt,
                    score: ForecastScore(forecast, outcome: outcome, baseRate: self.baseRate(forecast))))
        }
        self.pending.removeAll { $0.horizonAt <= now }
    }

    /// The last row that ends by then.
    private func row(_ time: Timestamp) -> Int {
        let entity = self.evaluations.entity
        return Int((time.milliseconds - entity.trainStart.milliseconds) / entity.stepMs) - 1
    }

    private func outcome(_ forecast: Forecast) -> Double? {
        guard let target = self.server.nodes.firstIndex(of: forecast.target) else { return nil }
        let values = self.server.column(target)
        let (from, to) = (self.row(forecast.movedAt), self.row(forecast.horizonAt))
        guard values.indices.contains(from), values.indices.contains(to) else { return nil }
        let change = values[to] - values[from]
        return change.isFinite ? change : nil
    }

    private func baseRate(_ forecast: Forecast) -> Double? {
        guard let target = self.server.nodes.firstIndex(of: forecast.target) else { return nil }
        let values = self.server.column(target)
        let moved = self.row(forecast.movedAt)
        let horizon = max(1, self.row(forecast.horizonAt) - moved)
        let first = max(0, moved - Self.pastBuckets)
        guard first + horizon <= moved else { return nil }
        return ForecastScore.baseRate(
            expectedChange: forecast.expectedChange,
            ofChanges: (first + horizon...moved).map { values[$0] - values[$0 - horizon] })
    }
}
