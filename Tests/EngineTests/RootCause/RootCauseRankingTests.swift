import Engine
import Foundation
import Model
import Testing

@Suite("Root-cause ranking")
struct RootCauseRankingTests {
    /// A node of a component whose baseline is 10 +- 1 and whose window is `window`.
    static func node(_ event: String, _ market: String, domain: String = "service") -> RootCauseNode {
        RootCauseNode(
            key: NodeKey(domain: domain, event: event, market: market, venue: "x"), profile: .undeclared(domain: domain)
        )
    }

    static let quiet = (0..<40).map { 10 + Double($0 % 3) - 1 }

    static func input(
        _ series: [(node: RootCauseNode, window: [Double])], calls: [CallEdge] = [], target: RootCauseTarget? = nil
    ) -> RootCauseInput {
        RootCauseInput(
            nodes: series.map(\.node), baseline: series.flatMap { _ in quiet }, baselineLength: quiet.count,
            window: series.flatMap(\.window), windowLength: series.first?.window.count ?? 0, callGraph: calls,
            target: target)
    }

    @Test("blame walks from the caller that feels it to the callee that causes it")
    func walksToCallee() throws {
        let slow = [40.0, 40, 40, 40, 40]
        let report = RootCauseRanking.rank(
            Self.input(
                [
                    (Self.node("front", "latency"), slow), (Self.node("middle", "latency"), slow),
                    (Self.node("back", "latency"), slow), (Self.node("aside", "latency"), [10, 10, 10, 10, 10]),
                ],
                calls: [
                    CallEdge(caller: "front", callee: "middle"), CallEdge(caller: "middle", callee: "back"),
                    CallEdge(caller: "front", callee: "aside"),
                ]))
        let first = try #require(report.candidates.first)
        #expect(first.event == "back")
        #expect(first.share > 0.6)
        #expect(first.accusers.contains { $0.event == "middle" && $0.reason == .passedBlame })
        #expect(first.witnesses.first.map { $0.node.market == "latency" && $0.strength > 3 } == true)
        #expect(report.candidates.last?.event == "aside")
        #expect(report.callGraph == .declared)
        #expect(abs(report.candidates.reduce(0) { $0 + $1.share } - 1) < 1e-12)
        #expect(report.strength > RootCauseRanking.quietStrength)
    }

    @Test("a slow call accuses the one that was called, and the calls are the graph when none is declared")
    func callSeries() throws {
        let report = RootCauseRanking.rank(
            Self.input([
                (Self.node("a_b", "CpuUsage"), [10, 10, 10, 10, 10]),
                (Self.node("c", "CpuUsage"), [10, 10, 10, 10, 10]),
                (Self.node("a_b_c", "latency", domain: "call"), [90, 90, 90, 90, 90]),
            ]))
        let first = try #require(report.candidates.first)
        #expect(first.event == "c")
        #expect(report.callGraph == .calls)
        #expect(first.accusers.contains { $0.event == "a_b" && $0.reason == .slowCall })
    }

    @Test("an address outside is excused as far as a component with the same callers suffers, and blamed for the rest")
    func excusesRemotes() throws {
        func first(component: Double) -> String? {
            RootCauseRanking.rank(
                Self.input(
                    [
                        (Self.node("front", "latency"), [40, 40, 40, 40, 40]),
                        (Self.node("back", "latency"), [Double](repeating: component, count: 5)),
                        (Self.node("balancer", "latency", domain: "remote"), [60, 60, 60, 60, 60]),
                    ],
                    calls: [
                        CallEdge(caller: "front", callee: "back"), CallEdge(caller: "front", callee: "balancer"),
                    ])
            ).candidates.first?.event
        }
        #expect(first(component: 40) == "back")
        #expect(first(component: 10) == "balancer")
    }

    /// Who waits, what it may be calling, and what moved apart from it, over a baseline in which the first two move together.
    private static func waiting(window: [Double]) -> RootCauseReport {
        let nodes = [
            Self.node("front", "PodClientLatency"), Self.node("back", "PodServerLatency"),
            Self.node("aside", "PodServerLatency"),
        ]
        let together = (0..<40).map { 10 + Double($0 * $0 % 7) }
        let apart = (0..<40).map { 10 + Double($0 * 3 % 11) }
        let quiet: [Double] = [12, 12, 12, 12, 12]
        return RootCauseRanking.rank(
            RootCauseInput(
                nodes: nodes, baseline: together + together + apart, baselineLength: 40,
                window: window + quiet + quiet, windowLength: 5))
    }

    @Test("without known calls waiting is charged to those that moved with it before")
    func suspectsCallees() throws {
        let report = Self.waiting(window: [90, 90, 90, 90, 90])
        let first = try #require(report.candidates.first)
        #expect(report.callGraph == .none)
        #expect(first.event == "back")
        #expect(first.accusers.contains { $0.event == "front" && $0.reason == .suspectedCall })
        #expect(report.candidates.last?.event == "front")
    }

    @Test(
        "without known calls what moves as its own load does is explained, and an answer faster than ever is suspicious"
    )
    func judgesOwnLoad() throws {
        let low = [2.0, 2, 2, 2, 2]
        let report = RootCauseRanking.rank(
            Self.input([
                (Self.node("idle", "PodWorkload"), low), (Self.node("idle", "CpuUsage"), low),
                (Self.node("skips", "PodServerLatency"), low),
            ]))
        #expect(report.candidates.map(\.event) == ["skips", "idle"])
        #expect((report.candidates.last?.local ?? 1) < 0.05)
    }

    @Test("one spike is no evidence, a change held for two buckets is")
    func holds() throws {
        let spike = RootCauseRanking.rank(
            Self.input([
                (Self.node("a", "CpuUsage"), [10, 10, 90, 10, 10]), (Self.node("b", "CpuUsage"), [10, 10, 10, 10, 10]),
            ]))
        let held = RootCauseRanking.rank(
            Self.input([
                (Self.node("a", "CpuUsage"), [10, 90, 90, 10, 10]), (Self.node("b", "CpuUsage"), [10, 10, 10, 10, 10]),
            ]))
        #expect(spike.strength < RootCauseRanking.quietStrength)
        #expect(held.strength > RootCauseRanking.quietStrength)
        #expect(spike.notes.contains { $0.contains("stands out") })
        #expect(held.callGraph == .none)
        #expect(held.notes.contains { $0.contains("No call graph is known") })
    }

    @Test("latency that falls is no fault, a success rate that falls is")
    func directions() {
        let better = RootCauseRanking.rank(Self.input([(Self.node("a", "latency"), [1, 1, 1, 1, 1])]))
        #expect(better.strength < 0.5)
        #expect((better.candidates.first?.local ?? 0) > 0.5)
        let rates = (0..<40).map { _ in 100.0 }
        let failing = RootCauseRanking.rank(
            RootCauseInput(
                nodes: [Self.node("a", "availability")], baseline: rates, baselineLength: 40,
                window: [97, 97, 97, 97, 97],
                windowLength: 5))
        #expect(failing.strength > RootCauseRanking.quietStrength)
        #expect((failing.candidates.first?.witnesses.first?.strength ?? 0) < 0)
    }

    @Test("hosts and indicators are never candidates")
    func roles() {
        let wild = [90.0, 90, 90, 90, 90]
        let report = RootCauseRanking.rank(
            Self.input([
                (Self.node("node-1", "CpuUsage", domain: "k8s-node"), wild),
                (Self.node("users", "latency", domain: "sli"), wild),
                (Self.node("a", "CpuUsage"), [10, 10, 10, 10, 10]),
            ]))
        #expect(report.candidates.map(\.event) == ["a"])
    }

    @Test("with a target only its market and venue count")
    func target() {
        let wild = [90.0, 90, 90, 90, 90]
        let report = RootCauseRanking.rank(
            Self.input(
                [(Self.node("a", "CpuUsage"), wild), (Self.node("b", "latency"), wild)],
                target: RootCauseTarget(event: "b", market: "latency", venue: "x")))
        #expect(report.candidates.map(\.event) == ["b", "a"])
        #expect(report.candidates.last?.local == 0)
    }

    @Test("ties keep the order of declaration, whatever it is")
    func ties() {
        let names = ["m", "a", "z", "b"]
        let report = RootCauseRanking.rank(
            Self.input(names.map { (Self.node($0, "CpuUsage"), [10, 10, 10, 10, 10]) }))
        #expect(report.candidates.map(\.event) == names)
    }

    @Test("empty windows, empty baselines and no nodes give an answer without evidence", arguments: [0, 1])
    func empty(nodes: Int) {
        let series = Array(repeating: Self.node("a", "CpuUsage"), count: nodes)
        for (past, present) in [(0, 0), (5, 0), (0, 5)] {
            let report = RootCauseRanking.rank(
                RootCauseInput(
                    nodes: series, baseline: Array(repeating: 1, count: nodes * past), baselineLength: past,
                    window: Array(repeating: 9, count: nodes * present), windowLength: present))
            #expect(report.candidates.count == nodes)
            #expect(report.strength == 0)
        }
    }

    @Test("209 nodes with 120 + 5 buckets take less than a second even unoptimised")
    func cost() {
        let nodes = (0..<209).map { Self.node("s\($0 / 16)", "m\($0 % 16)") }
        var state: UInt64 = 7
        func noise() -> Double {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return 10 + Double(state >> 40) / Double(1 << 24)
        }
        let input = RootCauseInput(
            nodes: nodes, baseline: (0..<209 * 120).map { _ in noise() }, baselineLength: 120,
            window: (0..<209 * 5).map { _ in noise() }, windowLength: 5)
        let clock = ContinuousClock()
        let took = clock.measure { _ = RootCauseRanking.rank(input) }
        #expect(took < .seconds(1))
    }
}

@Suite("Observation grid")
struct ObservationGridTests {
    static func time(_ milliseconds: Int64) -> Timestamp { Timestamp(milliseconds: milliseconds) }

    @Test("the newest value of a bucket counts, whatever the order of arrival; equal times count by their mean")
    func newest() {
        var grid = ObservationGrid(nodeCount: 1, bucketMs: 10, after: Self.time(-1), through: Self.time(9))
        grid.add(node: 0, time: Self.time(7), value: 3)
        grid.add(node: 0, time: Self.time(2), value: 100)
        grid.add(node: 0, time: Self.time(7), value: 5)
        grid.add(node: 0, time: Self.time(11), value: 100)
        grid.add(node: 0, time: Self.time(8), value: .nan)
        #expect(grid.bucketCount == 1)
        #expect(grid.values(nodes: [0], buckets: [0]) == [4])
    }

    @Test("a bucket belongs to the period its newest observation lies in; an empty one goes with the one before")
    func periods() {
        var grid = ObservationGrid(nodeCount: 2, bucketMs: 10, after: Self.time(-20), through: Self.time(45))
        for time in [-11, -3, 4, 8, 31, 48] as [Int64] { grid.add(node: 0, time: Self.time(time), value: 1) }
        #expect(grid.start == Self.time(-20))
        #expect(grid.end == Self.time(50))
        // Bucket 0 ends up at -11, 1 at -3, 2 at 8, 3 and 4 are empty, 5 at 31, 6 at 48.
        #expect(grid.buckets(after: Self.time(-20), through: Self.time(5)) == [0, 1])
        #expect(grid.buckets(after: Self.time(5), through: Self.time(45)) == [2, 3, 4, 5])
        #expect(grid.buckets(after: Self.time(100), through: Self.time(200)).isEmpty)
        #expect(!grid.hasValue(node: 1, in: [0, 1, 2]))
    }
}
