import Engine
import Foundation
import Model
import PlantedData
import Recordings
import Testing

@Suite("Node residuals")
struct NodeResidualDetectorTests {
    static let halfHour: Int64 = 1_800_000
    static let nodes = (0..<4).map { NodeKey(domain: "d", event: "host", market: "m\($0)", venue: "v") }

    /// Four nodes, period 48, the first three moved together; node 1 jumps at 350 ..< 356, node 3 shifts for good at 390.
    /// Whole numbers of 2^-20, so that another language makes the very same ones.
    static func rows(count: Int = 432) -> [[Double]] {
        var random = SeededNumbers(seed: 7)
        var state = [0, 0, 0, 0]
        return (0..<count).map { row in
            let season = abs(row % 48 - 24)
            let shared = Int(random.bits() % 201_001) - 100_500
            return (0..<4).map { node in
                let noise = Int(random.bits() % 301_001) - 150_500
                let decayed = Double(state[node] * (node + 1)) / 8
                state[node] = Int(decayed.rounded(.down)) + noise + (node < 3 ? shared : 0)
                var value = Double(state[node] + season * 10_000 * (node + 1)) / 1_048_576
                if (350..<356).contains(row), node == 1 { value += 2 }
                if row >= 390, node == 3 { value += 0.5 }
                return value
            }
        }
    }

    static func settings(period: Int) -> NodeResidualDetector.Settings {
        NodeResidualDetector.Settings(
            bucketMs: Self.halfHour, periodMs: Int64(period) * Self.halfHour, baselineBuckets: period == 0 ? 168 : 288,
            presentBuckets: 120, historyBuckets: 432, warmUpBuckets: 288)
    }

    static func windowEnd(_ row: Int) -> Timestamp { Timestamp(milliseconds: Int64(row + 1) * Self.halfHour) }

    static func run(
        _ rows: [[Double]], settings: NodeResidualDetector.Settings
    ) -> [NodeResidualScores] {
        var detector = NodeResidualDetector(event: "host", domain: "d", settings: settings)
        return rows.enumerated().map {
            detector.observe(nodes: Self.nodes, values: $1, windowEnd: Self.windowEnd($0))
        }
    }

    /// Scores of the reference implementation (numpy, all nodes at once), rows 288 and on.
    static func reference(period: Int) throws -> [(row: Int, event: Double, nodes: [Double])] {
        let folder = URL(filePath: #filePath).deletingLastPathComponent()
        let text = try String(contentsOf: folder.appending(path: "reference-residuals.csv"), encoding: .utf8)
        return text.split(separator: "\n").dropFirst().compactMap { line in
            let fields = line.split(separator: ",").compactMap { Double($0) }
            guard fields.count == 7, Int(fields[0]) == period else { return nil }
            return (Int(fields[1]), fields[2], Array(fields[3...]))
        }
    }

    @Test("scores equal the reference implementation's to 1e-6, with and without a period", arguments: [48, 0])
    func equalsReference(period: Int) throws {
        let scores = Self.run(Self.rows(), settings: Self.settings(period: period))
        let reference = try Self.reference(period: period)
        #expect(reference.count == 144)
        for expected in reference {
            let score = scores[expected.row]
            #expect(score.state == .ready)
            #expect(abs((score.eventScore ?? .nan) - expected.event) < 1e-6)
            for (node, value) in zip(score.nodes, expected.nodes) { #expect(abs(node.score - value) < 1e-6) }
            #expect(score.nodes.count == 4)
        }
    }

    @Test("nothing is said while learning, and no alarm is raised before four periods")
    func warmsUp() {
        var settings = Self.settings(period: 48)
        settings.warmUpBuckets = nil
        var rows = Self.rows()
        for row in 160..<170 { rows[row][2] += 50 }
        let scores = Self.run(rows, settings: settings)
        #expect(scores[143].state == .learning && scores[143].nodes.isEmpty)
        #expect(scores[144].state == .provisional)
        #expect((scores[165].nodes.first { $0.node == Self.nodes[2] }?.score ?? 0) > 30)
        #expect(scores[..<192].allSatisfy { $0.findings.isEmpty && $0.level == nil })
        #expect(scores[192].state == .ready && scores[192].level != nil)
    }

    @Test("what happens at the same time every day is no news from the second time on")
    func forgivesDailyEvents() {
        var rows = Self.rows()
        for row in 288..<432 where row % 48 == 20 { rows[row][0] += 3 }
        let scores = Self.run(rows, settings: Self.settings(period: 48))
        func seasonal(_ row: Int) -> Double {
            scores[row].nodes.first { $0.node == Self.nodes[0] }?.seasonal ?? .nan
        }
        #expect(seasonal(288 + 20) == 20)
        #expect(seasonal(288 + 48 + 20) < 5)
    }

    @Test("a large offset changes no score")
    func ignoresOffset() {
        let rows = Self.rows()
        let plain = Self.run(rows, settings: Self.settings(period: 48))
        let moved = Self.run(rows.map { $0.map { $0 + 1_048_576 } }, settings: Self.settings(period: 48))
        for (one, other) in zip(plain, moved) {
            #expect(abs((one.eventScore ?? 0) - (other.eventScore ?? 0)) < 1e-6)
        }
    }

    @Test("a node that rested while its unit was fixed is judged by a new one once it moves")
    func outgrowsUnit() {
        var rows = Self.rows()
        for row in rows.indices { rows[row][2] = row < 150 ? 1 : 1 + Double(row * row % 97) / 97 }
        for row in 400..<404 { rows[row][2] = 9 }
        let scores = Self.run(rows, settings: Self.settings(period: 48))
        func score(_ row: Int) -> Double { scores[row].nodes.first { $0.node == Self.nodes[2] }?.score ?? .nan }
        #expect(score(150) > 30)
        #expect(score(395) < 15)
        #expect(score(402) > 30)
    }

    @Test("a node that keeps jumping gives fewer alarms, for each raises its own level and no other's")
    func spendsItsBudget() {
        var rows = Self.rows()
        for row in 288..<432 where row % 12 < 4 { rows[row][1] += row % 24 < 12 ? 2 : -2 }
        var tracker = EpisodeTracker()
        var alarms: [NodeKey: Int] = [:]
        var levels: [Double] = []
        for score in Self.run(rows, settings: Self.settings(period: 48)) {
            for one in tracker.advance(to: score.windowEnd, findings: score.findings).opened {
                alarms[one.node, default: 0] += 1
                levels.append(one.level)
            }
        }
        #expect((1...2).contains(alarms[Self.nodes[1]] ?? 0))
        #expect(levels.first == 30)
        #expect((alarms[Self.nodes[0]] ?? 0) == 0)
    }

    @Test("the jump of node 1 opens an episode of node 1 with its reason; quiet rows before it open none")
    func findsJump() throws {
        let scores = Self.run(Self.rows(), settings: Self.settings(period: 48))
        var tracker = EpisodeTracker()
        var opened: [Anomaly] = []
        var lastFindings: [Finding] = []
        for score in scores[288..<358] {
            let changes = tracker.advance(to: score.windowEnd, findings: score.findings)
            if score.windowEnd <= Self.windowEnd(349) { #expect(changes.opened.isEmpty) }
            opened += changes.opened
            lastFindings += score.findings.filter { $0.node == Self.nodes[1] }
        }
        #expect(opened.map(\.node) == [Self.nodes[1]])
        let finding = try #require(lastFindings.max { $0.statistic < $1.statistic })
        #expect(finding.statistic > finding.level)
        #expect((finding.values["neighbourResidual"] ?? 0) > 3)
        #expect(finding.reason.contains("above what its neighbours predict"))
    }

    @Test("a stored and decoded detector continues to the bit, with nodes that come later too")
    func continuesToTheBit() throws {
        let rows = Self.rows()
        var plain = NodeResidualDetector(
            event: "host", domain: "d", settings: Self.settings(period: 48))
        var stored = plain
        for (index, row) in rows.enumerated() {
            let known = index < 60 ? [0, 2, 3] : [0, 1, 2, 3]
            let nodes = known.map { Self.nodes[$0] }
            let values = known.map { row[$0] }
            if index % 61 == 0 {
                stored = try JSONDecoder().decode(NodeResidualDetector.self, from: JSONEncoder().encode(stored))
            }
            let one = plain.observe(nodes: nodes, values: values, windowEnd: Self.windowEnd(index))
            let other = stored.observe(nodes: nodes, values: values, windowEnd: Self.windowEnd(index))
            #expect(one == other)
        }
        #expect(plain == stored)
        #expect(plain.nodes == Self.nodes)
    }

    @Test("on a recorded server the streaming scores find the labelled faults as well as the reference does")
    func findsRecordedFaults() throws {
        let recording = try LabelledServer.load("omi-1")
        var detector = NodeResidualDetector(event: "omi-1", domain: "d", settings: .init(bucketMs: recording.stepMs))
        var scores: [Double] = []
        for (row, values) in recording.rows.enumerated() {
            let end = Timestamp(milliseconds: recording.start + Int64(row + 1) * recording.stepMs)
            let score = detector.observe(nodes: recording.nodes, values: values, windowEnd: end)
            if row >= recording.firstTestRow { scores.append(score.eventScore ?? 0) }
        }
        let labels = Array(recording.isFault[recording.firstTestRow...])
        let precision = AveragePrecision.of(scores: scores, labels: labels)
        // The reference: 0.446.
        #expect(precision > 0.44)
    }
}
