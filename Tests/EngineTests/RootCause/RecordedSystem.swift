import Engine
import Foundation
import Model
import Recordings

/// A recording in memory, nodes in order of declaration, observations in order of time.
struct RecordedSystem {
    let nodes: [RootCauseNode]
    let observations: [(node: Int, time: Timestamp, value: Double)]

    static let samples = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appending(path: "../../../Samples").standardizedFileURL

    static let nezha = samples.appending(path: "services-nezha/2022-08-22")
    static let petshop = samples.appending(path: "services-petshop/low_traffic")

    init(_ file: URL, keeping: (NodeKey) -> Bool = { _ in true }) throws {
        let reader = try RecordingReader(path: file.path)
        var rows: [Observation] = []
        while let row = try reader.next() { if keeping(row.node) { rows.append(row) } }
        self.init(rows)
    }

    init(_ rows: [Observation]) {
        let keys = Set(rows.map(\.node))
        self.nodes = keys.map { RootCauseNode(key: $0, profile: .undeclared(domain: $0.domain)) }
            .sorted(by: RootCauseNode.isDeclaredBefore)
        var index: [NodeKey: Int] = [:]
        for (position, node) in self.nodes.enumerated() { index[node.key] = position }
        self.observations = rows.compactMap { row in index[row.node].map { ($0, row.time, row.value) } }
    }

    static func calls(_ folder: URL) throws -> [CallEdge] {
        try LabelFiles.calls(at: folder.appending(path: "graph.csv").path)
            .map { CallEdge(caller: $0.caller, callee: $0.callee) }
    }

    func grid(bucketMs: Int64, after: Timestamp, through: Timestamp) -> ObservationGrid {
        var grid = ObservationGrid(
            nodeCount: self.nodes.count, bucketMs: bucketMs, after: after, through: through)
        var low = 0
        var high = self.observations.count
        while low < high {
            let middle = (low + high) / 2
            if self.observations[middle].time < grid.start { low = middle + 1 } else { high = middle }
        }
        for row in self.observations[low...] {
            guard row.time < grid.end else { break }
            grid.add(node: row.node, time: row.time, value: row.value)
        }
        return grid
    }
}

/// What the reference implementation answered, case by case.
struct ReferenceRanking {
    struct Row {
        let event: String
        let score: Double
        let local: Double
        let impact: Double
        let loadResidual: Double
    }

    /// By set and case: `nezha/1661140434000`.
    static let all: [String: [Row]] = {
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appending(path: "reference-rankings.csv")
        let text = (try? String(contentsOf: file, encoding: .utf8)) ?? ""
        var all: [String: [Row]] = [:]
        for line in text.split(separator: "\n").dropFirst() {
            let fields = line.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
            guard fields.count == 8, let score = Double(fields[4]), let local = Double(fields[5]),
                let impact = Double(fields[6]), let residual = Double(fields[7])
            else { continue }
            all["\(fields[0])/\(fields[1])", default: []].append(
                Row(event: fields[3], score: score, local: local, impact: impact, loadResidual: residual))
        }
        return all
    }()
}
