import Model

/// One event's layer at one window end: the tests that share their false-discovery rate, and the edges that pass.
struct EdgeFamily {
    static let falseDiscoveryRate = 0.05

    let layer: Layer
    let threshold: Double
    let detectedAt: [EdgeKey: Timestamp]
    /// Tests: pairs that are not constant. Those not added count with p = 1.
    var size: Int
    private var tests: [Test] = []

    private struct Test {
        var pair: SettledPair
        var panel: SeriesPanel
        /// p of the peak and, where there is one, of the opposite peak; none when the pair counts with p = 1.
        var values: [Double] = []
    }

    struct Outcome {
        var edges: [Edge] = []
        var acceptedPairs = 0
        var rejected: [RejectedPair] = []
    }

    init(layer: Layer, threshold: Double, size: Int, detectedAt: [EdgeKey: Timestamp]) {
        self.layer = layer
        self.threshold = threshold
        self.size = size
        self.detectedAt = detectedAt
    }

    /// Adds a settled pair. Pairs under the threshold keep p = 1, whatever they were settled for, so that q does not
    /// depend on what screening let through.
    mutating func add(_ pair: SettledPair, of panel: SeriesPanel) {
        var test = Test(pair: pair, panel: panel)
        if pair.status == .tested, abs(pair.peak.score) >= self.threshold {
            test.values.append(Self.pValue(pair.peak, tests: pair.tests))
            if let opposite = pair.opposite {
                test.values.append(Self.pValue(opposite, tests: pair.tests))
                self.size += 1
            }
        }
        self.tests.append(test)
    }

    private static func pValue(_ peak: SettledPair.Peak, tests: Int) -> Double {
        FisherStatistics.pValue(score: peak.score, effectiveSize: peak.effectiveSize, tests: tests).significantNine
    }

    func outcome() -> Outcome {
        var outcome = Outcome()
        let values = self.tests.flatMap(\.values)
        let qValues = FisherStatistics.qValues(values, familySize: max(self.size, values.count))
        var position = 0
        for test in self.tests {
            let own = qValues[position..<position + test.values.count].map(\.significantNine)
            position += own.count
            let q = own.first ?? 1
            let oppositeQ = own.dropFirst().first
            guard test.pair.status == .tested, !own.isEmpty, q <= Self.falseDiscoveryRate else {
                outcome.rejected.append(self.rejection(test, q))
                continue
            }
            outcome.acceptedPairs += 1
            let isFeedback = (oppositeQ ?? 1) <= Self.falseDiscoveryRate
            outcome.edges.append(self.edge(test, test.pair.peak, test.values[0], q, isFeedback))
            if isFeedback, let peak = test.pair.opposite, let oppositeQ {
                outcome.edges.append(self.edge(test, peak, test.values[1], oppositeQ, true))
            }
        }
        return outcome
    }

    private func rejection(_ test: Test, _ q: Double) -> RejectedPair {
        let nodes = test.panel.block.nodes
        let pair = test.pair
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

    private func edge(_ test: Test, _ peak: SettledPair.Peak, _ p: Double, _ q: Double, _ isFeedback: Bool) -> Edge {
        let block = test.panel.block
        let isReversed = peak.lag < 0
        let source = block.nodes[isReversed ? test.pair.second : test.pair.first]
        let target = block.nodes[isReversed ? test.pair.first : test.pair.second]
        let interval = FisherStatistics.interval(
            score: peak.score, effectiveSize: peak.effectiveSize,
            critical: CriticalValues.value(tests: test.pair.tests))
        let confidence = FisherStatistics.confidence(
            score: peak.score, effectiveSize: peak.effectiveSize, threshold: self.threshold)
        let lag = abs(peak.lag)
        let window = Int64(min(test.panel.shape.present, block.length)) * block.bucketMs
        return Edge(
            source: source, target: target, layer: self.layer,
            relation: isFeedback ? .feedback : lag == 0 ? .contemporaneous : .leadLag, estimator: .pearson,
            score: peak.score, lagBuckets: lag,
            latencyMs: (abs(peak.refinedLag) * Double(block.bucketMs) * 1_000).rounded() / 1_000,
            lagSource: test.pair.tests > 1 ? .present : .baseline, overlap: peak.overlap,
            effectiveSize: peak.effectiveSize, intervalLow: interval.low.roundedToNine,
            intervalHigh: interval.high.roundedToNine, pValue: p, qValue: q,
            // All lags at once: each of the independent statements has to hold.
            confidence: Self.power(confidence, test.pair.tests).roundedToNine,
            expectedPropagation: (peak.score * peak.slope).significantNine, bucketMs: block.bucketMs,
            windowStart: block.windowEnd.advanced(byMilliseconds: -window), windowEnd: block.windowEnd,
            detectedAt: self.detectedAt[EdgeKey(source: source, target: target, estimator: .pearson)]
                ?? block.windowEnd)
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
