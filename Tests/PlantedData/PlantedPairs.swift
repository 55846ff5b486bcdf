import Engine
import Foundation
import Model

/// Pairs of correlated series fed to a detector bucket by bucket, with a change at a known one.
package struct PlantedPairs {
    package enum Law { case normal, heavy }

    package static let minute: Int64 = 60_000
    /// Buckets before the first evaluation: present and baseline.
    package static let window = 841

    package var pairs: Int
    package var buckets: Int
    package var memory: Double
    package var law: Law
    package var score: Double
    /// Score, scale and lag from bucket `changeAt` on.
    package var changeAt: Int
    package var scoreAfter: Double
    package var scaleAfter: Double
    package var lag: Int
    package var lagAfter: Int
    package var seed: UInt64
    /// Buckets over which the score changes in even steps; 0: at once.
    package var changeOver: Int

    package init(
        pairs: Int = 40, buckets: Int = 300, memory: Double = 0, law: Law = .normal, score: Double = 0.9,
        changeAt: Int = .max, scoreAfter: Double = 0.9, scaleAfter: Double = 1, lag: Int = 0, lagAfter: Int = 0,
        seed: UInt64 = 1, changeOver: Int = 0
    ) {
        (self.pairs, self.buckets, self.memory, self.law) = (pairs, buckets, memory, law)
        (self.score, self.changeAt, self.scoreAfter, self.scaleAfter) = (score, changeAt, scoreAfter, scaleAfter)
        (self.lag, self.lagAfter, self.seed, self.changeOver) = (lag, lagAfter, seed, changeOver)
    }

    package func node(_ pair: Int, _ end: Int) -> NodeKey {
        NodeKey(domain: "d", event: "e", market: String(1_000 + pair), venue: String(end))
    }

    /// One edge per pair, accepted at every bucket.
    package func edges(at end: Timestamp) -> [Edge] {
        (0..<self.pairs).map { pair in
            Edge(
                source: self.node(pair, 0), target: self.node(pair, 1), layer: .direct,
                relation: self.lag == 0 ? .contemporaneous : .leadLag, estimator: .pearson, score: self.score,
                lagBuckets: self.lag, latencyMs: Double(self.lag) * 60_000, lagSource: .baseline, overlap: 120,
                effectiveSize: 120, intervalLow: 0.8, intervalHigh: 0.95, pValue: 0, qValue: 0, confidence: 0.99,
                expectedPropagation: 1, bucketMs: Self.minute, windowStart: end.advanced(byMilliseconds: -7_200_000),
                windowEnd: end, detectedAt: Timestamp(milliseconds: 0))
        }
    }

    /// 2 x pairs rows, source and target of each pair in turn.
    package func series() -> [[Double]] {
        var random = SeededNumbers(seed: self.seed)
        let length = Self.window + self.buckets
        var rows: [[Double]] = []
        for _ in 0..<self.pairs {
            var source: [Double] = []
            var target: [Double] = []
            let noise = (0..<length + 16).map { _ in (random.normal(), random.normal(), self.tail(&random)) }
            for bucket in 0..<length {
                let isChanged = bucket - Self.window >= self.changeAt
                let score = self.score(at: bucket - Self.window)
                let scale = (isChanged ? self.scaleAfter : 1) * noise[bucket + 8].2
                // Negative lags: the target moves first.
                let driver = noise[bucket + 8 - (isChanged ? self.lagAfter : self.lag)].0
                let one = noise[bucket + 8].0 * scale
                let other = (score * driver + (1 - score * score).squareRoot() * noise[bucket + 8].1) * scale
                source.append(self.memory * (source.last ?? 0) + one)
                target.append(self.memory * (target.last ?? 0) + other)
            }
            rows.append(source)
            rows.append(target)
        }
        return rows
    }

    private func score(at bucket: Int) -> Double {
        guard bucket >= self.changeAt else { return self.score }
        let done = self.changeOver > 0 ? min(1, Double(bucket - self.changeAt) / Double(self.changeOver)) : 1
        return self.score + done * (self.scoreAfter - self.score)
    }

    private func tail(_ random: inout SeededNumbers) -> Double {
        guard self.law == .heavy else { return 1 }
        let (one, two, three) = (random.normal(), random.normal(), random.normal())
        return 1 / ((one * one + two * two + three * three) / 3).squareRoot()
    }

    /// The rows of a block that shows these buckets.
    package static func cut(_ rows: [[Double]], _ buckets: Range<Int>) -> [Double] {
        var values: [Double] = []
        values.reserveCapacity(rows.count * buckets.count)
        for row in rows { values.append(contentsOf: row[buckets]) }
        return values
    }

    /// Episodes opened, with the bucket (0 = first evaluated) each was opened at.
    package func episodes(kind: FindingKind? = nil) -> [(bucket: Int, anomaly: Anomaly)] {
        let rows = self.series()
        let nodes = (0..<self.pairs).flatMap { [self.node($0, 0), self.node($0, 1)] }
        var detector = LinkDetector(event: "e")
        var tracker = EpisodeTracker()
        var opened: [(Int, Anomaly)] = []
        for bucket in 0..<self.buckets {
            let end = Timestamp(milliseconds: Int64(Self.window + bucket + 1) * Self.minute)
            let block = SeriesBlock(
                nodes: nodes, bucketMs: Self.minute, windowEnd: end, length: Self.window,
                values: Self.cut(rows, bucket + 1..<bucket + 1 + Self.window))
            let findings = detector.observe(block: block, edges: self.edges(at: end))
            let changes = tracker.advance(to: end, findings: findings.filter { kind == nil || $0.kind == kind })
            opened += changes.opened.map { (bucket, $0) }
        }
        return opened
    }
}
