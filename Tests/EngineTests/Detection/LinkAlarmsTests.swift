import Foundation
import Model
import PlantedData
import Testing

@testable import Engine

@Suite("Alarm levels of links that learn from their alarms")
struct LinkAlarmsTests {
    private static let bucketMs: Int64 = 60_000
    private static let budget = AlarmBudget(alarmsPerNodeDay: 2)
    private static let nodes = (0..<6).map { NodeKey(domain: "d", event: "e", market: "m\($0)", venue: "v") }
    /// All pairs of the nodes.
    private static let links = nodes.indices.flatMap { one in
        nodes.indices.filter { $0 > one }.map { LinkKey(source: nodes[one], target: nodes[$0]) }
    }

    private static func finding(_ link: LinkKey, at bucket: Int, excess: Double) -> Finding {
        Finding(
            kind: .correlationBreak, event: "e", node: link.source, target: link.target,
            windowEnd: Timestamp(milliseconds: Int64(bucket) * Self.bucketMs), bucketMs: Self.bucketMs,
            statistic: 7 + excess, level: 7, values: [:], reason: "")
    }

    /// Episodes as the reader of findings makes them, over buckets of excesses by link.
    private static func episodes(
        _ alarms: inout LinkAlarms, buckets: Range<Int>, excess: (_ bucket: Int, _ link: Int) -> Double
    ) -> [Anomaly] {
        var tracker = EpisodeTracker()
        var opened: [Anomaly] = []
        for bucket in buckets {
            let findings = Self.links.indices.compactMap { link -> Finding? in
                let size = excess(bucket, link)
                return size > 0 ? Self.finding(Self.links[link], at: bucket, excess: size) : nil
            }
            let kept = alarms.keep(findings, bucketMs: Self.bucketMs, budget: Self.budget)
            opened +=
                tracker.advance(to: Timestamp(milliseconds: Int64(bucket) * Self.bucketMs), findings: kept).opened
        }
        return opened
    }

    @Test("whatever the series do, no node gives more alarms than the budget and a few", arguments: [1, 7, 200, 2_000])
    func bound(typicalStretch: Int) {
        var numbers = SeededNumbers(seed: UInt64(typicalStretch))
        var alarms = LinkAlarms(.nats)
        var sizes = [Double](repeating: 0, count: Self.links.count)
        let buckets = 10_000
        let opened = Self.episodes(&alarms, buckets: 0..<buckets) { _, link in
            // Links go up and down as they like, far beyond any level.
            if Int(numbers.bits() % UInt64(typicalStretch)) == 0 {
                sizes[link] = Double(numbers.bits() % 3) * Double(numbers.bits() % 50)
            }
            return sizes[link]
        }
        let days = Double(buckets) / 1_440
        let most = Self.budget.alarmsPerNodeDay * days + LinkAlarms.Unit.nats.room / LinkAlarms.Unit.nats.step + 1
        #expect(opened.count >= Self.nodes.count)
        for node in Self.nodes {
            #expect(Double(opened.count { $0.node == node || $0.target == node }) <= most)
        }
    }

    @Test("of links of one node that break together the strongest is told first, the others once they say more")
    func strongestFirst() {
        var alarms = LinkAlarms(.nats)
        // Links 0 ... 2 share a node; each gains its own speed a bucket.
        let opened = Self.episodes(&alarms, buckets: 0..<60) { bucket, link in
            link < 3 ? Double(bucket) * (1 - 0.1 * Double(link)) : 0
        }
        #expect(opened.map(\.target) == Self.links.prefix(3).map(\.target))
        // An alarm adds 15, and a day takes away 30: beyond 14.7 at bucket 17 and beyond 29.3 at 37, three in a row two later.
        #expect(opened.map { $0.openedAt.milliseconds / Self.bucketMs } == [3, 19, 39])
        #expect(zip(opened, [7, 21.7, 36.3]).allSatisfy { abs($0.level - $1) < 0.1 })
    }

    @Test("quiet time brings the level back, and an open episode stays at the level it opened at")
    func quietTime() {
        var alarms = LinkAlarms(.deviations)
        let link = Self.links[0]
        let first = Self.episodes(&alarms, buckets: 0..<10) { _, place in place == 0 ? 1 : 0 }
        #expect(first.map(\.level) == [7])
        #expect(alarms.raise(of: link) == 0)
        // Three buckets below close it. Then its nodes are 3 higher, less 2 alarms a day x 3.
        #expect(Self.episodes(&alarms, buckets: 10..<13) { _, _ in 0 }.isEmpty)
        #expect(abs(alarms.raise(of: link) - 3) < 0.1)
        #expect(Self.episodes(&alarms, buckets: 13..<413) { _, place in place == 0 ? 1 : 0 }.isEmpty)
        #expect(Self.episodes(&alarms, buckets: 413..<420) { _, place in place == 0 ? 2 : 0 }.count == 1)
        #expect(Self.episodes(&alarms, buckets: 420..<2_500) { _, _ in 0 }.isEmpty)
        #expect(alarms == LinkAlarms(.deviations))
    }

    @Test("the order of links at a bucket changes nothing")
    func order() {
        var numbers = SeededNumbers(seed: 3)
        var (one, other) = (LinkAlarms(.nats), LinkAlarms(.nats))
        for _ in 0..<500 {
            let excesses = Self.links.compactMap { link -> LinkAlarms.Excess? in
                let size = Double(numbers.bits() % 40)
                return size > 10 ? LinkAlarms.Excess(link: link, size: size) : nil
            }
            let forward = one.observe(excesses, bucketMs: Self.bucketMs, budget: Self.budget)
            let backward = other.observe(excesses.reversed(), bucketMs: Self.bucketMs, budget: Self.budget)
            #expect(forward == backward.reversed())
        }
        #expect(one == other)
    }

    @Test("what was stored goes on to the digit, and what no alarm can have left is refused")
    func stored() throws {
        var alarms = LinkAlarms(.nats)
        _ = Self.episodes(&alarms, buckets: 0..<40) { bucket, link in Double((bucket * 7 + link * 5) % 41) }
        let text = try JSONEncoder().encode(alarms)
        var same = try JSONDecoder().decode(LinkAlarms.self, from: text)
        try same.validate()
        func goOn(_ alarms: inout LinkAlarms) -> [Anomaly] {
            Self.episodes(&alarms, buckets: 40..<400) { bucket, link in Double((bucket * 3 + link * 5) % 41) }
        }
        #expect(goOn(&alarms) == goOn(&same))
        #expect(alarms == same)
        // Heights of deviations, 9 at most, cannot be those of nats.
        let altered = String(decoding: text, as: UTF8.self).replacing("\"nats\"", with: "\"deviations\"")
        #expect(throws: DetectorStateError.self) {
            try JSONDecoder().decode(LinkAlarms.self, from: Data(altered.utf8)).validate()
        }
    }

    @Test("a link that broke lately is found again, later: the level delays and does not deafen")
    func breaksAgain() throws {
        // Whole for 400 buckets after its first break, so that it is a link again; cut anew then.
        let planted = PlantedPairs(pairs: 10, buckets: 1_500, seed: 12)
        var rows = planted.series()
        var random = SeededNumbers(seed: 13)
        let first = PlantedPairs.window
        let cuts = [first..<first + 60, first + 1_200..<first + 1_320]
        for pair in 0..<10 {
            for bucket in cuts.joined() { rows[2 * pair + 1][bucket] = random.normal() }
        }
        var detector = LinkDetector(event: "e")
        var tracker = EpisodeTracker()
        var opened: [Anomaly] = []
        let nodes = (0..<10).flatMap { [planted.node($0, 0), planted.node($0, 1)] }
        for bucket in 0..<1_500 {
            let end = Timestamp(milliseconds: Int64(PlantedPairs.window + bucket + 1) * PlantedPairs.minute)
            let block = SeriesBlock(
                nodes: nodes, bucketMs: PlantedPairs.minute, windowEnd: end, length: PlantedPairs.window,
                values: PlantedPairs.cut(rows, bucket + 1..<bucket + 1 + PlantedPairs.window))
            opened += tracker.advance(to: end, findings: detector.observe(block: block, edges: planted.edges(at: end)))
                .opened.filter { $0.kind == .correlationBreak }
        }
        func delays(_ cut: Range<Int>) -> [Int] {
            (0..<10).compactMap { pair in
                let times = opened.filter { $0.node == planted.node(pair, 0) }
                    .map { Int($0.openedAt.milliseconds / PlantedPairs.minute) - 1 }
                return times.first { cut.contains($0) }.map { $0 - cut.lowerBound }
            }.sorted()
        }
        let (early, late) = (delays(cuts[0]), delays(cuts[1]))
        try #require(early.count == 10 && late.count >= 9)
        #expect(early[5] < 20)
        #expect((15..<60).contains(late[5]))
        #expect(late[5] > early[5] + 5)
    }
}
