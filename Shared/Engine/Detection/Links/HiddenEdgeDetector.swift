import Foundation
import Model

/// Finds newly accepted edges that neither the pair's baseline nor the declared topology knows.
///
/// An edge accepted for the first time within the last present window counts when its pair of events is not declared, the
/// baseline does not show it (the upper end of the 95 % interval of |r| at the edge's lag lies below the layer's threshold),
/// and the change is beyond the alarm level: |z(present) - z(baseline)| / sqrt(1 / (n - 3) + 1 / (N - 3)) with Fisher's z and
/// effective sizes. Every pair tested could have become such an edge, so all partners of a node share its budget.
public struct HiddenEdgeDetector: Sendable {
    public let presentBuckets: Int
    public let baselineBuckets: Int
    /// Least |r| per layer an edge is accepted from.
    public let thresholds: [Layer: Double]
    /// Bounds of clipping in robust standard deviations, as edges are clipped.
    public let clip: Double
    public let budget: AlarmBudget

    /// - Precondition: `presentBuckets` and `clip` are above 0, `baselineBuckets` is 0 or more.
    public init(
        presentBuckets: Int = 120, baselineBuckets: Int = 720, thresholds: [Layer: Double] = [:], clip: Double = 3,
        budget: AlarmBudget = AlarmBudget()
    ) {
        precondition(presentBuckets > 0 && baselineBuckets >= 0, "the present has a length, the baseline none or one")
        precondition(clip > 0, "clipped at nothing, nothing is left")
        self.presentBuckets = presentBuckets
        self.baselineBuckets = baselineBuckets
        self.thresholds = thresholds
        self.clip = clip
        self.budget = budget
    }

    /// `values`: `baselineScore`, `baselineHigh` (upper end of |r|), `presentScore`, `score`, `confidence`, `effectiveSize`,
    /// `lagMs`.
    ///
    /// - Parameters:
    ///   - event: whose graph the findings belong to.
    ///   - block: series of the nodes of `edges`, present + baseline buckets (three presents of baseline at least), ending with
    ///     this bucket.
    ///   - edges: the accepted edges of the event at this bucket.
    ///   - declared: pairs of events that are declared to be connected.
    ///   - partners: nodes each node was tested against.
    /// - Precondition: the lags of edges are within the block.
    /// - Returns: findings ordered as `edges`.
    public func observe(
        event: String, block: SeriesBlock, edges: [Edge], declared: DeclaredPairs, partners: Int
    ) -> [Finding] {
        let baseline = min(self.baselineBuckets, block.length - self.presentBuckets)
        guard baseline >= 3 * self.presentBuckets else { return [] }
        let newest = block.windowEnd.advanced(byMilliseconds: -Int64(self.presentBuckets) * block.bucketMs)
        let fresh = edges.filter { edge in
            edge.detectedAt > newest && edge.estimator == .pearson
                && !declared.contains(edge.source.event, edge.target.event)
        }
        guard !fresh.isEmpty else { return [] }
        precondition(fresh.allSatisfy { (0..<block.length).contains($0.lagBuckets) }, "an edge leads from its source")
        var number: [NodeKey: Int] = [:]
        for (index, node) in block.nodes.enumerated() { number[node] = index }
        let level = self.budget.normalLevel(bucketMs: block.bucketMs, sharers: partners)
        return fresh.compactMap { edge in
            guard let source = number[edge.source], let target = number[edge.target] else { return nil }
            let end = block.length - self.presentBuckets
            let past = BaselinePair(
                source: block.row(source), target: block.row(target), from: end - baseline, to: end,
                lag: edge.lagBuckets, clip: self.clip)
            return self.finding(edge, past: past, level: level, event: event, block: block)
        }
    }

    private func finding(
        _ edge: Edge, past: BaselinePair?, level: Double, event: String, block: SeriesBlock
    ) -> Finding? {
        // Without a baseline of the pair nothing can be said about what is new.
        guard let past, past.effectiveSize >= 10, edge.effectiveSize > 3 else { return nil }
        let threshold = self.thresholds[edge.layer] ?? edge.layer.defaultThreshold
        let high = tanh(atanh(abs(past.score)) + 1.96 / (past.effectiveSize - 3).squareRoot())
        guard high < threshold else { return nil }
        let present = min(0.99999, max(-0.99999, edge.score))
        let pooled = (1 / (edge.effectiveSize - 3) + 1 / (past.effectiveSize - 3)).squareRoot()
        let statistic = abs(atanh(present) - atanh(past.score)) / pooled
        guard statistic > level else { return nil }
        return Finding(
            kind: .hiddenEdge, event: event, node: edge.source, target: edge.target, layer: edge.layer,
            windowEnd: block.windowEnd, bucketMs: block.bucketMs, statistic: statistic, level: level,
            values: [
                "baselineScore": past.score, "baselineHigh": high, "presentScore": edge.score, "score": edge.score,
                "confidence": edge.confidence, "effectiveSize": edge.effectiveSize,
                "lagMs": Double(edge.lagBuckets) * Double(block.bucketMs),
            ],
            reason: "new correlation \(Words.correlation(edge.score)), not declared; the baseline shows "
                + "\(Words.correlation(past.score)) (at most \(Words.number(high)))")
    }
}

/// r of two clipped series on a baseline at one lag, and how many independent places it is worth.
struct BaselinePair {
    let score: Double
    /// n / (1 + 2 sum (1 - k / n) rx(k) ry(k)) over k up to n / 4, at most n.
    let effectiveSize: Double

    /// Nil where either series does not change or fewer than ten places are known.
    init?(
        source: ArraySlice<Double>, target: ArraySlice<Double>, from start: Int, to end: Int, lag: Int, clip: Double
    ) {
        var x: [Double] = []
        var y: [Double] = []
        for index in max(start, lag)..<end {
            let one = source[source.startIndex + index - lag]
            let other = target[target.startIndex + index]
            guard one.isFinite, other.isFinite else { continue }
            x.append(one)
            y.append(other)
        }
        guard x.count >= 10, let first = Self.standardised(x, clip: clip), let second = Self.standardised(y, clip: clip)
        else { return nil }
        let n = Double(x.count)
        var cross = 0.0
        for index in first.indices { cross += first[index] * second[index] }
        var inflation = 1.0
        for shift in 1..<max(2, x.count / 4) {
            var autoX = 0.0
            var autoY = 0.0
            for index in shift..<first.count {
                autoX += first[index] * first[index - shift]
                autoY += second[index] * second[index - shift]
            }
            inflation += 2 * (1 - Double(shift) / n) * autoX / n * autoY / n
        }
        self.score = min(0.99999, max(-0.99999, cross / n))
        self.effectiveSize = inflation > 0 ? min(n, n / inflation) : n
    }

    private static func standardised(_ values: [Double], clip: Double) -> [Double]? {
        guard let (median, deviation) = RobustScale.medianAndScale(values) else { return nil }
        // Where most values rest, as ``ClipBounds`` has it for edges.
        let scale =
            deviation > 0
            ? deviation : 1.2533 * values.reduce(0) { $0 + abs($1 - median) } / Double(values.count)
        let bound = clip * scale
        let clipped = values.map { min(median + bound, max(median - bound, $0)) }
        let mean = clipped.reduce(0, +) / Double(clipped.count)
        let variance = clipped.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(clipped.count)
        guard variance > 0 else { return nil }
        let sd = variance.squareRoot()
        return clipped.map { ($0 - mean) / sd }
    }
}
