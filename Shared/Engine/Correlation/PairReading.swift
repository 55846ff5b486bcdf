import Model

/// What one window says about one pair, whether that is an edge or not.
public struct PairReading: Hashable, Sendable {
    /// r at the chosen lag.
    public var score: Double
    /// Positive: the first node of the pair moves first.
    public var lagBuckets: Int
    public var effectiveSize: Double
    /// 95 % interval of r.
    public var intervalLow: Double
    public var intervalHigh: Double

    public init(score: Double, lagBuckets: Int, effectiveSize: Double, intervalLow: Double, intervalHigh: Double) {
        self.score = score
        self.lagBuckets = lagBuckets
        self.effectiveSize = effectiveSize
        self.intervalLow = intervalLow
        self.intervalHigh = intervalHigh
    }

    /// - Parameter first: of the two ends the one that a positive lag lets lead.
    public init(_ edge: Edge, first: NodeKey) {
        self.init(
            score: edge.score, lagBuckets: edge.source == first ? edge.lagBuckets : -edge.lagBuckets,
            effectiveSize: edge.effectiveSize, intervalLow: edge.intervalLow, intervalHigh: edge.intervalHigh)
    }
}

extension Evaluation {
    /// Measures one pair as an evaluation of the block does. Nil when a node is not in it, or the pair is short or constant.
    ///
    /// - Parameters:
    ///   - block: its nodes in ascending order.
    ///   - first: below `second` in the order of nodes.
    ///   - periods: see ``EvaluationInput/periods``.
    public static func reading(
        of first: NodeKey, and second: NodeKey, in block: SeriesBlock, shape: WindowShape,
        thresholds: LayerThresholds = LayerThresholds(), periods: [String: Int64] = [:]
    ) -> PairReading? {
        guard first < second, block.length > 1, let left = self.row(of: first, in: block),
            let right = self.row(of: second, in: block)
        else { return nil }
        let panel = SeriesPanel(
            block: SeriesBlock(
                nodes: [first, second], bucketMs: block.bucketMs, windowEnd: block.windowEnd, length: block.length,
                values: Array(block.row(left) + block.row(right))
            ).withoutSeasons(periods, shape: shape), shape: shape)
        let pair = PairSettlement(panel: panel, thresholds: thresholds)
            .settle(0, 1, layer: Layer(of: first, and: second))
        guard pair.status == .tested else { return nil }
        let interval = FisherStatistics.interval(
            score: pair.peak.score, effectiveSize: pair.peak.effectiveSize,
            critical: CriticalValues.value(tests: pair.tests))
        return PairReading(
            score: pair.peak.score, lagBuckets: pair.peak.lag, effectiveSize: pair.peak.effectiveSize,
            intervalLow: interval.low.roundedToNine, intervalHigh: interval.high.roundedToNine)
    }

    private static func row(of node: NodeKey, in block: SeriesBlock) -> Int? {
        var (low, high) = (0, block.nodes.count)
        while low < high {
            let middle = (low + high) / 2
            if block.nodes[middle] < node { low = middle + 1 } else { high = middle }
        }
        return low < block.nodes.count && block.nodes[low] == node ? low : nil
    }
}
