import Engine
import Model
import Recordings

/// A recording in memory, nodes in order of declaration, observations in order of time.
struct ServiceRecording {
    let nodes: [RootCauseNode]
    private let observations: [(node: Int, time: Timestamp, value: Double)]

    var first: Timestamp? { self.observations.first?.time }
    var last: Timestamp? { self.observations.last?.time }

    init(paths: [String]) throws {
        var rows: [Observation] = []
        for path in paths {
            let reader = try RecordingReader(path: path)
            while let row = try reader.next() { rows.append(row) }
        }
        rows.sort { $0.time < $1.time }
        self.init(rows)
    }

    private init(_ rows: [Observation]) {
        self.nodes = Set(rows.map(\.node)).map { RootCauseNode(key: $0, profile: .undeclared(domain: $0.domain)) }
            .sorted(by: RootCauseNode.isDeclaredBefore)
        var index: [NodeKey: Int] = [:]
        for (position, node) in self.nodes.enumerated() { index[node.key] = position }
        self.observations = rows.compactMap { row in index[row.node].map { ($0, row.time, row.value) } }
    }

    private init(nodes: [RootCauseNode], observations: [(node: Int, time: Timestamp, value: Double)]) {
        self.nodes = nodes
        self.observations = observations
    }

    /// Without the series of calls.
    func withoutCalls() -> ServiceRecording {
        var number: [Int: Int] = [:]
        for (index, node) in self.nodes.enumerated() where node.role != .call { number[index] = number.count }
        return ServiceRecording(
            nodes: self.nodes.filter { $0.role != .call },
            observations: self.observations.compactMap { row in number[row.node].map { ($0, row.time, row.value) } })
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
