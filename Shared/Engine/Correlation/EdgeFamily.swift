import Model

/// One event's layer at one window end: the tests that share their false-discovery rate, and the edges that pass.
struct EdgeFamily {
    static let falseDiscoveryRate = 0.05

    let layer: Layer
    let threshold: Double
    /// What the rows of the pairs belong to, by ``SettledPair/panel``.
    let panels: [RankedPanel]
    let detectedAt: [EdgeKey: Timestamp]
    /// Tests: pairs that are not constant. Those not added count with p = 1.
    private(set) var size: Int
    private var tests: [Test] = []
    /// p of all peaks that reach the threshold, in the order of tests.
    private var pValues: [Double] = []

    private struct Test {
        var pair: SettledPair
        /// Position of the peak's p, and of the opposite peak's where there is one: the next; -1 when p = 1.
        var position = -1
    }

    /// An accepted edge before it is written out: ranking moves numbers, not names.
    struct Draft {
        let pair: SettledPair
        let peak: SettledPair.Peak
        /// Ranks of the nodes among all of the evaluation.
        let source: Int
        let target: Int
        let pValue: Double
        let qValue: Double
        let confidence: Double
        let isFeedback: Bool

        var weight: Double { abs(self.peak.score) * self.confidence }
    }

    struct Outcome {
        /// Strongest first: by weight, then source, then target.
        var drafts: [Draft] = []
        var acceptedPairs = 0
        var rejected: [RejectedPair] = []
    }

    init(layer: Layer, threshold: Double, size: Int, panels: [RankedPanel], detectedAt: [EdgeKey: Timestamp]) {
        self.layer = layer
        self.threshold = threshold
        self.size = size
        self.panels = panels
        self.detectedAt = detectedAt
    }

    /// Adds a settled pair. Pairs under the threshold keep p = 1, whatever they were settled for, so that q does not
    /// depend on what screening let through.
    mutating func add(_ pair: SettledPair) {
        var test = Test(pair: pair)
        if pair.status == .tested, abs(pair.peak.score) >= self.threshold {
            test.position = self.pValues.count
            self.pValues.append(Self.pValue(pair.peak, tests: pair.tests))
            if let opposite = pair.opposite {
                self.pValues.append(Self.pValue(opposite, tests: pair.tests))
                self.size += 1
            }
        }
        self.tests.append(test)
    }

    private static func pValue(_ peak: SettledPair.Peak, tests: Int) -> Double {
        FisherStatistics.pValue(score: peak.score, effectiveSize: peak.effectiveSize, tests: tests).significantNine
    }

    /// - Parameter includesRejected: whether to write out rejected pairs.
    func outcome(includesRejected: Bool) -> Outcome {
        var outcome = Outcome()
        let qValues = FisherStatistics.qValues(self.pValues, familySize: max(self.size, self.pValues.count))
        for test in self.tests {
            let q = test.position >= 0 ? qValues[test.position].significantNine : 1
            guard test.position >= 0, q <= Self.falseDiscoveryRate else {
                if includesRejected { outcome.rejected.append(self.rejection(test.pair, q)) }
                continue
            }
            outcome.acceptedPairs += 1
            let oppositeQ = test.pair.opposite == nil ? 1 : qValues[test.position + 1].significantNine
            let isFeedback = oppositeQ <= Self.falseDiscoveryRate
            outcome.drafts.append(
                self.draft(test.pair, test.pair.peak, self.pValues[test.position], q, isFeedback))
            if isFeedback, let peak = test.pair.opposite {
                outcome.drafts.append(self.draft(test.pair, peak, self.pValues[test.position + 1], oppositeQ, true))
            }
        }
        let weights = outcome.drafts.map(\.weight)
        let order = outcome.drafts.indices.sorted { left, right in
            if weights[left] != weights[right] { return weights[left] > weights[right] }
            let (left, right) = (outcome.drafts[left], outcome.drafts[right])
            return (left.source, left.target) < (right.source, right.target)
        }
        outcome.drafts = order.map { outcome.drafts[$0] }
        return outcome
    }

    private func rejection(_ pair: SettledPair, _ q: Double) -> RejectedPair {
        let nodes = self.panels[pair.panel].series.block.nodes
        guard pair.status == .tested else {
            return RejectedPair(
                first: nodes[pair.first], second: nodes[pair.second], layer: self.layer,
                reason: pair.status == .short ? .short : .constant)
        }
        return RejectedPair(
            first: nodes[pair.first], second: nodes[pair.second], layer: self.layer,
            reason: abs(pair.peak.score) >= self.threshold ? .notSignificant : .belowThreshold,
            score: pair.peak.score, lagBuckets: pair.peak.lag, effectiveSize: pair.peak.effectiveSize, qValue: q)
    }

    private func draft(
        _ pair: SettledPair, _ peak: SettledPair.Peak, _ p: Double, _ q: Double, _ isFeedback: Bool
    ) -> Draft {
        let ranks = self.panels[pair.panel].ranks
        let (first, second) = (ranks[pair.first], ranks[pair.second])
        let confidence = FisherStatistics.confidence(
            score: peak.score, effectiveSize: peak.effectiveSize, threshold: self.threshold)
        return Draft(
            pair: pair, peak: peak, source: peak.lag < 0 ? second : first, target: peak.lag < 0 ? first : second,
            pValue: p, qValue: q,
            // All lags at once: each of the independent statements has to hold.
            confidence: Self.power(confidence, pair.tests).roundedToNine, isFeedback: isFeedback)
    }

    /// The edge in full.
    func edge(_ draft: Draft) -> Edge {
        let (pair, peak) = (draft.pair, draft.peak)
        let panel = self.panels[pair.panel].series
        let block = panel.block
        let isReversed = peak.lag < 0
        let source = block.nodes[isReversed ? pair.second : pair.first]
        let target = block.nodes[isReversed ? pair.first : pair.second]
        let interval = FisherStatistics.interval(
            score: peak.score, effectiveSize: peak.effectiveSize, critical: CriticalValues.value(tests: pair.tests))
        let lag = abs(peak.lag)
        let window = Int64(min(panel.shape.present, block.length)) * block.bucketMs
        var detectedAt = block.windowEnd
        // Making the key costs more than looking it up.
        if !self.detectedAt.isEmpty {
            detectedAt =
                self.detectedAt[EdgeKey(source: source, target: target, estimator: .pearson)] ?? block.windowEnd
        }
        return Edge(
            source: source, target: target, layer: self.layer,
            relation: draft.isFeedback ? .feedback : lag == 0 ? .contemporaneous : .leadLag, estimator: .pearson,
            score: peak.score, lagBuckets: lag,
            latencyMs: (abs(peak.refinedLag) * Double(block.bucketMs) * 1_000).rounded() / 1_000,
            lagSource: pair.tests > 1 ? .present : .baseline, overlap: peak.overlap,
            effectiveSize: peak.effectiveSize, intervalLow: interval.low.roundedToNine,
            intervalHigh: interval.high.roundedToNine, pValue: draft.pValue, qValue: draft.qValue,
            confidence: draft.confidence, expectedPropagation: (peak.score * peak.slope).significantNine,
            bucketMs: block.bucketMs, windowStart: block.windowEnd.advanced(byMilliseconds: -window),
            windowEnd: block.windowEnd, detectedAt: detectedAt)
    }

    private static func power(_ value: Double, _ exponent: Int) -> Double {
        (0..<max(1, exponent)).reduce(1) { product, _ in product * value }
    }
}

/// 95 % critical values by number of simultaneous lags, computed once (lags are at most 64).
enum CriticalValues {
    private static let table = (0...129).map { FisherStatistics.criticalValue(tests: max(1, $0)) }

    static func value(tests: Int) -> Double {
        self.table.indices.contains(tests) ? self.table[tests] : FisherStatistics.criticalValue(tests: tests)
    }
}
