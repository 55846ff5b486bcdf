import Foundation
import Model

/// The raw, irregular readings of one event's nodes over a window, and the edges of L1 they give beside those of the
/// regular clock.
public struct TickWindow: Sendable {
    /// Nodes of one event; fewer than two give no edge.
    public var ticks: [NodeKey: TickSeries]
    public var options: HayashiYoshida.Options
    /// Of the regular clock, in which an edge states its lag besides milliseconds.
    public var bucketMs: Int64
    public var windowEnd: Timestamp

    /// - Precondition: `bucketMs` is above 0.
    public init(
        ticks: [NodeKey: TickSeries], options: HayashiYoshida.Options, bucketMs: Int64, windowEnd: Timestamp
    ) {
        precondition(bucketMs > 0, "a bucket has a width")
        self.ticks = ticks
        self.options = options
        self.bucketMs = bucketMs
        self.windowEnd = windowEnd
    }

    /// Accepted edges, in order of nodes. The pairs form a family of their own for q, and each pair has its own threshold
    /// (what random shifts of it reach).
    public func edges() -> [Edge] {
        let nodes = self.ticks.keys.sorted()
        var found: [(first: NodeKey, second: NodeKey, estimate: HayashiYoshida.Estimate)] = []
        for (position, first) in nodes.enumerated() {
            for second in nodes[(position + 1)...] where first.market == second.market {
                guard let x = self.ticks[first], let y = self.ticks[second],
                    let estimate = HayashiYoshida.estimate(x, y, options: self.options)
                else { continue }
                found.append((first, second, estimate))
            }
        }
        let qValues = FisherStatistics.qValues(found.map(\.estimate.pValue), familySize: found.count)
        return zip(found, qValues).compactMap { entry, qValue in
            let q = qValue.significantNine
            guard q <= EdgeFamily.falseDiscoveryRate, abs(entry.estimate.rho) >= entry.estimate.threshold else {
                return nil
            }
            return self.edge(entry.first, entry.second, entry.estimate, q)
        }
    }

    private func edge(_ first: NodeKey, _ second: NodeKey, _ estimate: HayashiYoshida.Estimate, _ q: Double) -> Edge {
        let isReversed = estimate.lagMs < 0
        let source = isReversed ? second : first
        let target = isReversed ? first : second
        let overlap = isReversed ? estimate.firstIncrements : estimate.secondIncrements
        let variance = estimate.deviation * estimate.deviation
        // The size at which a plain correlation of independent pairs would vary as much.
        let size = (1 - estimate.rho * estimate.rho) * (1 - estimate.rho * estimate.rho) / variance
        // beta is second per first; turned round it is rho^2 / beta.
        let slope = isReversed && estimate.beta != 0 ? estimate.rho * estimate.rho / estimate.beta : estimate.beta
        let excess = (abs(estimate.rho) - estimate.threshold) / estimate.deviation
        let ends = [self.ticks[first]?.times.first, self.ticks[second]?.times.first].compactMap { $0 }
        return Edge(
            source: source, target: target, layer: .direct,
            relation: estimate.lagMs == 0 ? .contemporaneous : .leadLag, estimator: .hayashiYoshida,
            score: estimate.rho, lagBuckets: Int((Double(abs(estimate.lagMs)) / Double(self.bucketMs)).rounded()),
            latencyMs: Double(abs(estimate.lagMs)), lagSource: .present, overlap: overlap,
            effectiveSize: min(Double(overlap), max(10, size)).roundedToNine, intervalLow: estimate.rhoLow,
            intervalHigh: estimate.rhoHigh, pValue: estimate.pValue, qValue: q,
            confidence: (0.5 * erfc(-excess / 2.0.squareRoot())).roundedToNine,
            expectedPropagation: slope.significantNine, bucketMs: self.bucketMs,
            windowStart: Timestamp(milliseconds: ends.min() ?? self.windowEnd.milliseconds),
            windowEnd: self.windowEnd, detectedAt: self.windowEnd)
    }
}
