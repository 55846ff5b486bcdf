import Engine
import Model
import Recordings

/// The edges of a server at closed buckets, found as the running product finds them: from the windows that end there.
struct ServerEvaluations {
    let server: ServerRecording
    let entity: RecordedEntity
    let profile: DomainProfile
    let shape: WindowShape
    let events: [String]
    /// When edges that stand were accepted first.
    private var standing: [EdgeKey: Timestamp] = [:]

    init(server: ServerRecording, entity: RecordedEntity, profile: DomainProfile) {
        self.server = server
        self.entity = entity
        self.profile = profile
        self.shape = WindowShape(profile: profile)
        self.events = Set(server.nodes.map(\.event)).sorted()
    }

    /// Rows that have whole windows behind them.
    var rows: Range<Int> { min(self.server.rows, self.shape.requiredLength)..<self.server.rows }

    func end(_ row: Int) -> Timestamp {
        Timestamp(milliseconds: self.entity.trainStart.milliseconds + Int64(row + 1) * self.entity.stepMs)
    }

    func block(_ row: Int) -> SeriesBlock {
        let length = self.shape.requiredLength
        return SeriesBlock(
            nodes: self.server.nodes, bucketMs: self.entity.stepMs, windowEnd: self.end(row), length: length,
            values: self.server.nodes.indices.flatMap { self.server.column($0)[row + 1 - length...row] })
    }

    /// Accepted edges by event. An edge stands while it is accepted at every bucket asked for.
    mutating func edges(_ block: SeriesBlock) -> [String: [Edge]] {
        let domain = self.server.nodes[0].domain
        var input = EvaluationInput(
            domain: domain, block: block, shape: self.shape, events: self.events,
            periods: [domain: self.profile.periodMs])
        input.detectedAt = self.standing
        var edges: [String: [Edge]] = [:]
        for evaluation in Evaluation.evaluate(input) { edges[evaluation.event] = evaluation.accepted }
        self.standing = [:]
        for edge in edges.values.joined() { self.standing[EdgeKey(edge)] = edge.detectedAt }
        return edges
    }
}
