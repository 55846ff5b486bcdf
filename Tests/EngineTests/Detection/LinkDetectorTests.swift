import Engine
import Foundation
import Model
import PlantedData
import Testing

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
