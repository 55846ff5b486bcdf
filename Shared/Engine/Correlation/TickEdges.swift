import Foundation
import Model

/// Edges of L1 from raw, irregular times, beside those of the regular clock.
struct TickEdges {
    let input: EvaluationInput

    /// Accepted edges of one event. The pairs with raw ticks form a family of their own for q, and each pair has its own
    /// threshold (what random shifts of it reach).
    ///
    /// - Parameters:
    ///   - report: gets pairs that only their ticks show counted as accepted.
    ///   - regular: the edges of the same pairs on the clock.
    ///   - untested: pairs the clock could not test.
    func edges(
        event: String, report: inout LayerReport, beside regular: [Edge], untested: some Sequence<SettledPair>
    ) -> [Edge] {
        guard self.input.ticks.count > 1 else { return [] }
        let nodes = self.input.block.nodes
        let rows = nodes.indices.filter { nodes[$0].event == event && self.input.ticks[nodes[$0]] != nil }
        guard rows.count > 1 else { return [] }
        let options =
            self.input.tickOptions
            ?? .grid(bucketMs: self.input.block.bucketMs, lagBuckets: self.input.shape.lag)
        var found: [(first: Int, second: Int, estimate: HayashiYoshida.Estimate)] = []
        for (position, first) in rows.enumerated() {
            for second in rows[(position + 1)...] where nodes[first].market == nodes[second].market {
                guard let x = self.input.ticks[nodes[first]], let y = self.input.ticks[nodes[second]],
                    let estimate = HayashiYoshida.estimate(x, y, options: options)
                else { continue }
                found.append((first, second, estimate))
            }
        }
        let qValues = FisherStatistics.qValues(found.map(\.estimate.pValue), familySize: found.count)
        var statuses: [[Int]: SettledPair.Status] = [:]
        for pair in untested where pair.layer == .direct { statuses[[pair.first, pair.second]] = pair.status }
        var known = Set(regular.map { Set([$0.source, $0.target]) })
        var edges: [Edge] = []
        for (index, entry) in found.enumerated() {
            let q = qValues[index].significantNine
            guard q <= EdgeFamily.falseDiscoveryRate, abs(entry.estimate.rho) >= entry.estimate.threshold else {
                continue
            }
            edges.append(self.edge(nodes[entry.first], nodes[entry.second], entry.estimate, q))
            guard known.insert([nodes[entry.first], nodes[entry.second]]).inserted else { continue }
            report.accepted += 1
            switch statuses[[entry.first, entry.second]] {
            case .short: report.short -= 1
            case .constant: report.constant -= 1
            case .tested, nil: break
            }
        }
        return edges
    }

    private func edge(_ first: NodeKey, _ second: NodeKey, _ estimate: HayashiYoshida.Estimate, _ q: Double) -> Edge {
        let isReversed = estimate.lagMs < 0
        let bucketMs = self.input.block.bucketMs
        let source = isReversed ? second : first
        let target = isReversed ? first : second
        let overlap = isReversed ? estimate.firstIncrements : estimate.secondIncrements
        let variance = estimate.deviation * estimate.deviation
        // The size at which a plain correlation of independent pairs would vary as much.
        let size = (1 - estimate.rho * estimate.rho) * (1 - estimate.rho * estimate.rho) / variance
        // beta is second per first; turned round it is rho^2 / beta.
        let slope = isReversed && estimate.beta != 0 ? estimate.rho * estimate.rho / estimate.beta : estimate.beta
        let excess = (abs(estimate.rho) - estimate.threshold) / estimate.deviation
        let ends = [self.input.ticks[first]?.times.first, self.input.ticks[second]?.times.first].compactMap { $0 }
        return Edge(
            source: source, target: target, layer: .direct,
            relation: estimate.lagMs == 0 ? .contemporaneous : .leadLag, estimator: .hayashiYoshida,
            score: estimate.rho, lagBuckets: Int((Double(abs(estimate.lagMs)) / Double(bucketMs)).rounded()),
            latencyMs: Double(abs(estimate.lagMs)), lagSource: .present, overlap: overlap,
            effectiveSize: min(Double(overlap), max(10, size)).roundedToNine, intervalLow: estimate.rhoLow,
            intervalHigh: estimate.rhoHigh, pValue: estimate.pValue, qValue: q,
            confidence: (0.5 * erfc(-excess / 2.0.squareRoot())).roundedToNine,
            expectedPropagation: slope.significantNine, bucketMs: bucketMs,
            windowStart: Timestamp(milliseconds: ends.min() ?? self.input.block.windowEnd.milliseconds),
            windowEnd: self.input.block.windowEnd,
            detectedAt: self.input.detectedAt[EdgeKey(source: source, target: target, estimator: .hayashiYoshida)]
                ?? self.input.block.windowEnd)
    }
}
