import Engine
import Foundation
import Model
import Recordings

/// What the residual detector said about one server, bucket by bucket.
struct ServerAnswer: Codable {
    var entity: String
    var nodes: [String]
    /// Event score of each bucket of the test part.
    var scores: [Double]
    /// Node scores of each bucket of the test part: rows x nodes, 4 bytes each, little endian.
    var nodeScores: Data
    /// Alarms of nodes in the second half of the train part, and the node-days of it.
    var normalAlarms: Int
    var normalNodeDays: Double
    /// The same of links, by kind.
    var normalLinkAlarms: [String: Int]
    /// Of the second half of the whole recording.
    var forecasts: [ServerForecastScore]
}

/// Streams each server of a set through the detector of the running product, with its settings; only where the test part
/// begins is known.
struct ServerTrial {
    let set: RecordedSet

    init(_ set: RecordedSet) { self.set = set }

    func answers() throws -> [ServerAnswer] {
        try LabelFiles.entities(at: self.set.file("entities.csv")).map(self.answer)
    }

    private func answer(_ entity: RecordedEntity) throws -> ServerAnswer {
        let server = try ServerRecording(path: self.set.file("\(entity.entity).csv.gz"), entity: entity)
        let testRow = Int((entity.testStart.milliseconds - entity.trainStart.milliseconds) / entity.stepMs)
        guard let domain = server.nodes.first?.domain, (1..<server.rows).contains(testRow) else {
            throw AccuracyFailure("\(entity.entity) has no train or no test part")
        }
        let profile = DomainProfile.undeclared(domain: domain)
        var detector = NodeResidualDetector(
            event: entity.entity, domain: domain,
            settings: .init(
                bucketMs: entity.stepMs, periodMs: profile.periodMs, baselineBuckets: profile.baselineBuckets))
        var episodes = EpisodeTracker()
        var scores: [Double] = []
        var nodeScores: [Float] = []
        var alarms = 0
        for row in 0..<server.rows {
            let end = Timestamp(milliseconds: entity.trainStart.milliseconds + Int64(row + 1) * entity.stepMs)
            let said = detector.observe(nodes: server.nodes, values: server.values(row), windowEnd: end)
            if row < testRow {
                let opened = episodes.advance(to: end, findings: said.findings).opened
                if row >= testRow / 2 { alarms += opened.count }
                continue
            }
            var byNode: [NodeKey: Float] = [:]
            for one in said.nodes { byNode[one.node] = Float(one.score) }
            scores.append(said.eventScore ?? 0)
            nodeScores += server.nodes.map { byNode[$0] ?? 0 }
        }
        let normalMs = Double(testRow - testRow / 2) * Double(entity.stepMs)
        let (linkAlarms, forecasts) = self.follow(
            ServerEvaluations(server: server, entity: entity, profile: profile), testRow: testRow)
        return ServerAnswer(
            entity: entity.entity, nodes: server.nodes.map { "\($0.event)|\($0.market)|\($0.venue)" }, scores: scores,
            nodeScores: nodeScores.map(\.bitPattern.littleEndian).withUnsafeBytes { Data($0) }, normalAlarms: alarms,
            normalNodeDays: normalMs / 86_400_000 * Double(server.nodes.count),
            normalLinkAlarms: linkAlarms, forecasts: forecasts)
    }

    /// Alarms about links in the second half of the train part, and forecasts of the second half of the whole.
    private func follow(_ evaluations: ServerEvaluations, testRow: Int) -> ([String: Int], [ServerForecastScore]) {
        var evaluations = evaluations
        var links: [String: ServerLinks] = [:]
        for event in evaluations.events { links[event] = ServerLinks(event: event, profile: evaluations.profile) }
        var forecasts = ServerForecasts(evaluations)
        var alarms: [String: Int] = [:]
        for row in evaluations.rows {
            let block = evaluations.block(row)
            guard row < testRow else {
                forecasts.observe(block) { evaluations.edges(block) }
                continue
            }
            let edges = evaluations.edges(block)
            for event in evaluations.events {
                for kind in links[event]?.observe(block, edges: edges[event] ?? []) ?? [] where row >= testRow / 2 {
                    alarms[kind.rawValue, default: 0] += 1
                }
            }
            forecasts.observe(block) { edges }
        }
        return (alarms, forecasts.scores)
    }
}

/// One server's series on its regular clock, the last value held.
struct ServerRecording {
    let nodes: [NodeKey]
    let rows: Int
    private var columns: [[Double]]

    init(path: String, entity: RecordedEntity) throws {
        let rows = Int((entity.end.milliseconds - entity.trainStart.milliseconds) / entity.stepMs) + 1
        var series: [NodeKey: [Double]] = [:]
        let reader = try RecordingReader(path: path)
        while let one = try reader.next() {
            let row = Int((one.time.milliseconds - entity.trainStart.milliseconds) / entity.stepMs)
            guard (0..<rows).contains(row) else { continue }
            series[one.node, default: [Double](repeating: .nan, count: rows)][row] = one.value
        }
        self.rows = rows
        self.nodes = series.keys.sorted()
        self.columns = self.nodes.map { node in
            var held = Double.nan
            return (series[node] ?? []).map { value in
                if value.isFinite { held = value }
                return held
            }
        }
    }

    /// The whole series of a node.
    func column(_ node: Int) -> [Double] { self.columns[node] }

    func values(_ row: Int) -> [Double] { self.columns.map { $0[row] } }
}

/// Reads the labels and measures how well the scores rank what is labelled, and who was blamed.
enum ServerScores {
    static func rows(_ answers: [ServerAnswer], set: RecordedSet) throws -> [AccuracyRow] {
        let entities = try LabelFiles.entities(at: set.file("entities.csv"))
        let labels = try LabelFiles.labels(at: set.file("labels.csv"))
        var rows: [AccuracyRow] = []
        var (volumes, areas, blamed, ranges, alarms, days) = ([Double](), [Double](), 0, 0, 0, 0.0)
        for (answer, entity) in zip(answers, entities) {
            let own = labels.filter { $0.entity == entity.entity }
            let times = answer.scores.indices.map { entity.testStart.milliseconds + Int64($0) * entity.stepMs }
            let isFault = times.map { time in
                own.contains { $0.start.milliseconds <= time && time <= $0.end.milliseconds }
            }
            let hits = own.count { Self.isBlamedRightly(answer, label: $0, times: times) }
            alarms += answer.normalAlarms
            days += answer.normalNodeDays
            rows.append(
                AccuracyRow(
                    set.name, answer.entity, "alarmsPerNodeDay", Double(answer.normalAlarms) / answer.normalNodeDays))
            rows += Self.linkAlarms([answer], set: set.name, name: answer.entity)
            guard isFault.contains(true) else { continue }
            volumes.append(VolumeUnderSurface.precisionRecall(scores: answer.scores, labels: isFault))
            areas.append(AveragePrecision.of(scores: answer.scores, labels: isFault))
            blamed += hits
            ranges += own.count
            rows += [
                AccuracyRow(set.name, answer.entity, "vusPr", volumes.last ?? .nan),
                AccuracyRow(set.name, answer.entity, "aucPr", areas.last ?? .nan),
                AccuracyRow(set.name, answer.entity, "blameTop1", Double(hits) / Double(own.count)),
                AccuracyRow(set.name, answer.entity, "labelledRanges", Double(own.count)),
            ]
        }
        rows += Self.forecasts(answers, labels: labels, set: set.name)
        guard !volumes.isEmpty else { return rows }
        func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(values.count) }
        return rows + [
            AccuracyRow(set.name, "all", "vusPr", mean(volumes)),
            AccuracyRow(set.name, "all", "aucPr", mean(areas)),
            AccuracyRow(set.name, "all", "blameTop1", Double(blamed) / Double(max(1, ranges))),
            AccuracyRow(set.name, "all", "labelledRanges", Double(ranges)),
            AccuracyRow(set.name, "all", "alarmsPerNodeDay", Double(alarms) / days),
        ] + Self.linkAlarms(answers, set: set.name, name: "all")
    }

    /// All forecasts, and those that no labelled range touches: what a fault does is not what moves did before.
    private static func forecasts(_ answers: [ServerAnswer], labels: [RecordedLabel], set: String) -> [AccuracyRow] {
        let quiet = answers.flatMap { answer in
            let own = labels.filter { $0.entity == answer.entity }
            return answer.forecasts.filter { one in !own.contains { $0.start <= one.horizon && one.moved <= $0.end } }
        }
        let name = "all/forecasts of the second half"
        return ForecastRows.rows(answers.flatMap(\.forecasts).map(\.score), set: set, name: name)
            + ForecastRows.rows(quiet.map(\.score), set: set, name: "\(name) outside labelled ranges")
    }

    /// Alarms of each kind about links, per node-day of the second half of the normal part.
    private static func linkAlarms(_ answers: [ServerAnswer], set: String, name: String) -> [AccuracyRow] {
        let days = answers.reduce(0) { $0 + $1.normalNodeDays }
        return ServerLinks.kinds.map { kind in
            let alarms = answers.reduce(0) { $0 + ($1.normalLinkAlarms[kind.rawValue] ?? 0) }
            return AccuracyRow(set, name, "\(kind.rawValue)sPerNodeDay", Double(alarms) / days)
        }
    }

    /// Whether the node with the highest mean score over the labelled range is one of those named.
    private static func isBlamedRightly(_ answer: ServerAnswer, label: RecordedLabel, times: [Int64]) -> Bool {
        let width = answer.nodes.count
        let values = answer.nodeScores.withUnsafeBytes { bytes in
            times.indices.filter { label.start.milliseconds <= times[$0] && times[$0] <= label.end.milliseconds }
                .map { row in
                    (0..<width).map { node in
                        Double(
                            Float(
                                bitPattern: UInt32(
                                    littleEndian: bytes.loadUnaligned(
                                        fromByteOffset: 4 * (row * width + node), as: UInt32.self))))
                    }
                }
        }
        let sums = (0..<width).map { node in values.reduce(0) { $0 + $1[node] } }
        guard let top = sums.indices.max(by: { sums[$0] < sums[$1] }), sums[top] > 0 else { return false }
        return label.nodes.contains(answer.nodes[top])
    }
}
