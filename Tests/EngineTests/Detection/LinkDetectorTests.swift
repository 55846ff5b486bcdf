import Engine
import Foundation
import Model
import Testing

/// Pairs of correlated series fed to a detector bucket by bucket, with a change at a known one.
struct PlantedPairs {
    enum Law { case normal, heavy }

    static let minute: Int64 = 60_000
    /// Buckets before the first evaluation: present and baseline.
    static let window = 841

    var pairs = 40
    var buckets = 300
    var memory = 0.0
    var law = Law.normal
    var score = 0.9
    /// Score, scale and lag from bucket `changeAt` on.
    var changeAt = Int.max
    var scoreAfter = 0.9
    var scaleAfter = 1.0
    var lag = 0
    var lagAfter = 0
    var seed: UInt64 = 1

    func node(_ pair: Int, _ end: Int) -> NodeKey {
        NodeKey(domain: "d", event: "e", market: String(1_000 + pair), venue: String(end))
    }

    /// One edge per pair, accepted at every bucket.
    func edges(at end: Timestamp) -> [Edge] {
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
    func series() -> [[Double]] {
        var random = SeededNumbers(seed: self.seed)
        let length = Self.window + self.buckets
        var rows: [[Double]] = []
        for _ in 0..<self.pairs {
            var source: [Double] = []
            var target: [Double] = []
            let noise = (0..<length + 16).map { _ in (random.normal(), random.normal(), self.tail(&random)) }
            for bucket in 0..<length {
                let isChanged = bucket - Self.window >= self.changeAt
                let score = isChanged ? self.scoreAfter : self.score
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

    private func tail(_ random: inout SeededNumbers) -> Double {
        guard self.law == .heavy else { return 1 }
        let (one, two, three) = (random.normal(), random.normal(), random.normal())
        return 1 / ((one * one + two * two + three * three) / 3).squareRoot()
    }

    /// The rows of a block that shows these buckets.
    static func cut(_ rows: [[Double]], _ buckets: Range<Int>) -> [Double] {
        var values: [Double] = []
        values.reserveCapacity(rows.count * buckets.count)
        for row in rows { values.append(contentsOf: row[buckets]) }
        return values
    }

    /// Episodes opened, with the bucket (0 = first evaluated) each was opened at.
    func episodes(kind: FindingKind? = nil) -> [(bucket: Int, anomaly: Anomaly)] {
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

@Suite("Correlation breaks and lead-lag shifts")
struct LinkDetectorTests {
    @Test("undisturbed links stay within the alarm budget", arguments: [0, 0.9])
    func quietLinks(memory: Double) {
        // 40 pairs over 240 minutes: 7 pair-days, 0.3 alarms allowed.
        let planted = PlantedPairs(buckets: 240, memory: memory, seed: 3)
        let opened = planted.episodes()
        #expect(opened.count <= 1)
        #expect(opened.allSatisfy { $0.anomaly.kind == .correlationBreak })
    }

    @Test("heavy tails raise few alarms: clipped, and divided by the pair's own spread")
    func heavyTails() {
        let planted = PlantedPairs(buckets: 240, law: .heavy, seed: 4)
        #expect(planted.episodes().count <= 3)
    }

    @Test("a link that breaks is found within 20 buckets", arguments: [0, 0.9])
    func brokenLinks(memory: Double) throws {
        let planted = PlantedPairs(buckets: 60, memory: memory, changeAt: 30, scoreAfter: 0, seed: 5)
        let found = planted.episodes(kind: .correlationBreak)
        let inTime = found.filter { (30..<50).contains($0.bucket) }
        #expect(Double(inTime.count) >= 0.8 * Double(planted.pairs))
        let anomaly = try #require(inTime.first?.anomaly)
        #expect(anomaly.peakStatistic > anomaly.level)
        #expect((anomaly.values["baselineScore"] ?? 0) > 0.8)
        #expect((anomaly.values["recentScore"] ?? 1) < 0.8)
        #expect(anomaly.severity == .critical)
        #expect(anomaly.reason.contains("correlation went from"))
    }

    @Test("twice the variance on both ends is no break")
    func doubledVariance() {
        let planted = PlantedPairs(buckets: 70, changeAt: 10, scaleAfter: 2, seed: 6)
        #expect(planted.episodes().count <= 1)
    }

    @Test("a lag that moves from 1 to 4 buckets is a shift; one that turns round is told as such")
    func shifts() throws {
        let moved = PlantedPairs(pairs: 8, buckets: 130, changeAt: 10, lag: 1, lagAfter: 4, seed: 7)
        let found = moved.episodes(kind: .leadLagShift)
        #expect(Set(found.map(\.anomaly.node)).count >= 7)
        let anomaly = try #require(found.first?.anomaly)
        #expect(anomaly.values["presentLagMs"] == 240_000)
        #expect(anomaly.values["baselineLagMs"] == 60_000)
        #expect(anomaly.values["directionReversed"] == 0)
        let turned = PlantedPairs(pairs: 8, buckets: 130, changeAt: 10, lag: 2, lagAfter: -2, seed: 8)
            .episodes(kind: .leadLagShift)
        #expect(Set(turned.map(\.anomaly.node)).count >= 7)
        #expect(turned.allSatisfy { $0.anomaly.values["directionReversed"] == 1 })
    }

    @Test("nothing is said before the baseline is full, and links are forgotten a baseline after they were accepted")
    func isBounded() {
        let planted = PlantedPairs(pairs: 3, buckets: 800)
        let rows = planted.series()
        let nodes = (0..<3).flatMap { [planted.node($0, 0), planted.node($0, 1)] }
        var detector = LinkDetector(event: "e", settings: .init(linkLimit: 2))
        let short = SeriesBlock(
            nodes: nodes, bucketMs: 60_000, windowEnd: Timestamp(milliseconds: 60_000 * 400), length: 400,
            values: PlantedPairs.cut(rows, 0..<400))
        #expect(detector.observe(block: short, edges: planted.edges(at: short.windowEnd)).isEmpty)
        #expect(detector.followedLinks == 2)
        let later = SeriesBlock(
            nodes: nodes, bucketMs: 60_000, windowEnd: Timestamp(milliseconds: 60_000 * 1_130), length: 841,
            values: PlantedPairs.cut(rows, 289..<1_130))
        _ = detector.observe(block: later, edges: [])
        #expect(detector.followedLinks == 0)
    }

    @Test("a stored and decoded detector finds the same")
    func continues() throws {
        let planted = PlantedPairs(pairs: 4, buckets: 40, changeAt: 5, scoreAfter: 0, seed: 9)
        let rows = planted.series()
        let nodes = (0..<4).flatMap { [planted.node($0, 0), planted.node($0, 1)] }
        var plain = LinkDetector(event: "e")
        var stored = plain
        var count = 0
        for bucket in 0..<40 {
            let end = Timestamp(milliseconds: Int64(842 + bucket) * 60_000)
            let block = SeriesBlock(
                nodes: nodes, bucketMs: 60_000, windowEnd: end, length: 841,
                values: PlantedPairs.cut(rows, bucket..<bucket + 841))
            if bucket == 20 { stored = try JSONDecoder().decode(LinkDetector.self, from: JSONEncoder().encode(stored)) }
            let findings = plain.observe(block: block, edges: planted.edges(at: end))
            #expect(findings == stored.observe(block: block, edges: planted.edges(at: end)))
            count += findings.count
        }
        #expect(count > 10)
    }
}
