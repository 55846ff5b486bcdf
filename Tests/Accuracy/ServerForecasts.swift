import Engine
import Foundation
import Model
import Recordings

/// The product's forecasts streamed over a server's recording. Edges, noise levels and intervals come from what was before a
/// move; moves of the first half only teach, those of the second are scored.
struct ServerForecasts {
    let server: ServerRecording
    let entity: RecordedEntity
    let profile: DomainProfile
    /// Buckets a base rate is taken from.
    private static let pastBuckets = 240

    func scores() -> [ForecastScore] {
        let shape = WindowShape(profile: self.profile)
        let detector = MoveDetector(
            transform: .level, baselineBuckets: self.profile.baselineBuckets, leastBuckets: 3 * shape.present)
        var calibrators: [ForecastPair: ForecastCalibrator] = [:]
        var pending: [Forecast] = []
        var scores: [ForecastScore] = []
        for row in min(self.server.rows, shape.requiredLength)..<self.server.rows {
            let now = self.end(row)
            for forecast in pending where forecast.horizonAt <= now {
                guard let outcome = self.outcome(forecast) else { continue }
                calibrators[ForecastPair(source: forecast.source, target: forecast.target)]?.learn(
                    forecast, outcome: outcome)
                guard self.row(forecast.movedAt) >= self.server.rows / 2 else { continue }
                scores.append(ForecastScore(forecast, outcome: outcome, baseRate: self.baseRate(forecast)))
            }
            pending.removeAll { $0.horizonAt <= now }
            let block = SeriesBlock(
                nodes: self.server.nodes, bucketMs: self.entity.stepMs, windowEnd: now, length: shape.requiredLength,
                values: self.server.nodes.indices.flatMap {
                    self.server.column($0)[row + 1 - shape.requiredLength...row]
                })
            for event in Set(self.server.nodes.map(\.event)).sorted()
            where !detector.observe(block: block, event: event, edges: []).isEmpty {
                // Edges do not depend on what moved, and are only asked for then.
                let evaluations = Evaluation.evaluate(
                    EvaluationInput(
                        domain: self.server.nodes[0].domain, block: block, shape: shape, events: [event],
                        periods: [self.server.nodes[0].domain: self.profile.periodMs]))
                let edges = evaluations.flatMap(\.accepted)
                for move in detector.observe(block: block, event: event, edges: edges) {
                    pending += Forecast.forecasts(after: move, calibrators: &calibrators)
                }
            }
        }
        return scores
    }

    private func end(_ row: Int) -> Timestamp {
        Timestamp(milliseconds: self.entity.trainStart.milliseconds + Int64(row + 1) * self.entity.stepMs)
    }

    /// The last row that ends by then.
    private func row(_ time: Timestamp) -> Int {
        Int((time.milliseconds - self.entity.trainStart.milliseconds) / self.entity.stepMs) - 1
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
