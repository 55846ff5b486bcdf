import Crypto
import Engine
import Foundation
import Model
import Testing

@Suite("Episodes")
struct EpisodeTrackerTests {
    static let node = NodeKey(domain: "d", event: "e", market: "latency", venue: "p99")
    static let other = NodeKey(domain: "d", event: "e", market: "errors", venue: "p99")

    static func time(_ bucket: Int) -> Timestamp { Timestamp(milliseconds: Int64(bucket) * 60_000) }

    static func finding(
        _ bucket: Int, statistic: Double = 5, node: NodeKey = node, kind: FindingKind = .nodeResidual
    ) -> Finding {
        Finding(
            kind: kind, event: "e", node: node, windowEnd: Self.time(bucket), bucketMs: 60_000, statistic: statistic,
            level: 4, values: ["at": Double(bucket)], reason: "bucket \(bucket)")
    }

    /// Feeds buckets 1, 2 ...; `beyond` says which of them had the finding.
    static func run(
        _ beyond: [Bool], tracker: inout EpisodeTracker, from first: Int = 1, kind: FindingKind = .nodeResidual
    ) -> [EpisodeChanges] {
        beyond.enumerated().map { index, isBeyond in
            tracker.advance(
                to: Self.time(first + index), findings: isBeyond ? [Self.finding(first + index, kind: kind)] : [])
        }
    }

    @Test("open at the third successive bucket beyond, not before")
    func opensAfterThree() {
        var tracker = EpisodeTracker()
        let changes = Self.run([true, true, false, true, true, true], tracker: &tracker)
        #expect(changes.map(\.opened.count) == [0, 0, 0, 0, 0, 1])
        let anomaly = changes.last?.opened.first
        #expect(anomaly?.startedAt == Self.time(4))
        #expect(anomaly?.openedAt == Self.time(6))
        #expect(anomaly?.closedAt == nil)
    }

    @Test("close at the third successive bucket below, dated at the last one beyond")
    func closesAfterThree() {
        var tracker = EpisodeTracker()
        let changes = Self.run(
            [true, true, true, false, false, true, false, false, false], tracker: &tracker, kind: .correlationBreak)
        #expect(changes.map(\.closed.count) == [0, 0, 0, 0, 0, 0, 0, 0, 1])
        #expect(changes.last?.closed.first?.closedAt == Self.time(6))
        #expect(tracker.followedSubjects == 0)
        #expect(tracker.open.isEmpty)
    }

    @Test("node residuals flicker, so theirs close after an hour below")
    func closesResidualsAfterAnHour() {
        var tracker = EpisodeTracker()
        let quiet = [Bool](repeating: false, count: 59)
        let changes = Self.run([true, true, true] + quiet + [true] + quiet + [false], tracker: &tracker)
        #expect(changes.dropLast().allSatisfy { $0.closed.isEmpty })
        #expect(changes.last?.closed.first?.closedAt == Self.time(63))
    }

    @Test("the peak and its values are kept, and told when they move")
    func keepsPeak() {
        var tracker = EpisodeTracker()
        let sizes: [Double] = [5, 9, 6, 7, 12]
        let changes = sizes.enumerated().map { index, size in
            tracker.advance(to: Self.time(index + 1), findings: [Self.finding(index + 1, statistic: size)])
        }
        #expect(changes[2].opened.first?.peakStatistic == 9)
        #expect(changes[2].opened.first?.reason == "bucket 2")
        #expect(changes[3].isEmpty)
        #expect(changes[4].updated.first?.peakStatistic == 12)
        #expect(changes[4].updated.first?.values == ["at": 5])
        #expect(changes[4].updated.first?.severity == .critical)
    }

    @Test("ids are the first 16 bytes of SHA-256 over kind, subject and start, in hex")
    func idsAreHashes() {
        var tracker = EpisodeTracker()
        let id = Self.run([true, true, true], tracker: &tracker).last?.opened.first?.id
        let text = "nodeResidual\u{1F}e\u{1F}d\u{1F}e\u{1F}latency\u{1F}p99\u{1F}\u{1F}60000"
        let digest = SHA256.hash(data: Data(text.utf8)).prefix(16)
        #expect(id == digest.map { String(format: "%02x", $0) }.joined())
    }

    @Test("the order of findings, a repeated bucket and a stored state change nothing")
    func isDeterministic() throws {
        var plain = EpisodeTracker()
        var restored = EpisodeTracker()
        for bucket in 1...12 {
            let findings = bucket % 7 == 0 ? [] : [Self.finding(bucket), Self.finding(bucket, node: Self.other)]
            let first = plain.advance(to: Self.time(bucket), findings: findings)
            let second = restored.advance(to: Self.time(bucket), findings: findings.reversed())
            #expect(first == second)
            #expect(restored.advance(to: Self.time(bucket), findings: []).isEmpty)
            restored = try JSONDecoder().decode(EpisodeTracker.self, from: JSONEncoder().encode(restored))
            #expect(restored == plain)
        }
        #expect(plain.open.count == 2)
    }

    @Test("moves are no anomalies, and a full tracker counts what it refuses")
    func isBounded() {
        var tracker = EpisodeTracker(subjectLimit: 1)
        _ = tracker.advance(to: Self.time(1), findings: [Self.finding(1, kind: .move)])
        #expect(tracker.followedSubjects == 0)
        _ = tracker.advance(to: Self.time(2), findings: [Self.finding(2), Self.finding(2, node: Self.other)])
        #expect(tracker.followedSubjects == 1)
        #expect(tracker.refused == 1)
    }
}
