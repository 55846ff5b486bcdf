import Model

/// Finds nodes that moved beyond their own noise level in the newest bucket: the only thing forecasts are made from.
///
/// The move of a node is its one-bucket change in source units: the difference of the last two values where the domain's
/// series are levels, the last value itself where they are differences or log returns. It counts when its size passes
/// `threshold` x the robust sd of the node's one-bucket changes on the buckets before (``RobustScale/noise(ofChanges:)``).
public struct MoveDetector: Sendable {
    /// Edges kept with a finding.
    public static let edgeLimit = 20

    /// Standard deviations a move must pass. Default 3.
    public let threshold: Double
    /// Buckets before the newest the noise level is taken from. Default 720.
    public let baselineBuckets: Int
    /// Changes needed before any move counts. Default three present windows of 120.
    public let leastBuckets: Int
    /// Whether values are changes already.
    public let valuesAreChanges: Bool

    /// - Precondition: `threshold` and `baselineBuckets` are above 0.
    public init(
        transform: DomainProfile.Transform, threshold: Double = 3, baselineBuckets: Int = 720, leastBuckets: Int = 360
    ) {
        precondition(threshold > 0, "every change passes a threshold of nothing")
        precondition(baselineBuckets > 0, "noise is measured on something")
        self.threshold = threshold
        self.baselineBuckets = baselineBuckets
        self.leastBuckets = max(2, leastBuckets)
        self.valuesAreChanges = transform != .level
    }

    /// Moves at the newest bucket of the block, in node order, each with the directed edges (lag above 0) that leave the node.
    ///
    /// `Finding.statistic` is |move| / sd, `level` the threshold, both in standard deviations. `values`: `move` (source
    /// units), `sourceSd` (source units).
    ///
    /// - Parameters:
    ///   - event: whose graph the findings belong to; only its own nodes are looked at.
    ///   - edges: the accepted edges of the event at this bucket.
    public func observe(block: SeriesBlock, event: String, edges: [Edge]) -> [Finding] {
        guard block.length >= 3 else { return [] }
        var outgoing: [NodeKey: [Edge]] = [:]
        for edge in edges where edge.lagBuckets > 0 && edge.source.event == event {
            outgoing[edge.source, default: []].append(edge)
        }
        var findings: [Finding] = []
        for (index, node) in block.nodes.enumerated() where node.event == event {
            guard let (move, noise) = self.move(of: block, node: index), abs(move) > self.threshold * noise else {
                continue
            }
            let strongest = (outgoing[node] ?? []).sorted {
                ($1.weight, $0.target, $0.lagBuckets) < ($0.weight, $1.target, $1.lagBuckets)
            }
            findings.append(
                Finding(
                    kind: .move, event: event, node: node, windowEnd: block.windowEnd, bucketMs: block.bucketMs,
                    statistic: abs(move) / noise, level: self.threshold,
                    values: ["move": move, "sourceSd": noise],
                    reason:
                        "moved by \(Words.number(move)) in one bucket, \(Words.number(abs(move) / noise)) of its own "
                        + "standard deviations",
                    edges: Array(strongest.prefix(Self.edgeLimit))))
        }
        return findings
    }

    /// The newest change and the noise level before it; nil where either is unknown or nothing ever changes.
    private func move(of block: SeriesBlock, node: Int) -> (move: Double, noise: Double)? {
        let row = block.row(node)
        let lead = self.valuesAreChanges ? 0 : 1
        let first = max(row.startIndex + lead, row.endIndex - 1 - self.baselineBuckets)
        func change(_ index: Int) -> Double {
            self.valuesAreChanges ? row[index] : row[index] - row[index - 1]
        }
        let move = change(row.endIndex - 1)
        guard move.isFinite, move != 0 else { return nil }
        var changes: [Double] = []
        changes.reserveCapacity(row.endIndex - first)
        for index in first..<row.endIndex - 1 {
            let value = change(index)
            if value.isFinite { changes.append(value) }
        }
        guard changes.count >= self.leastBuckets else { return nil }
        let noise = RobustScale.noise(ofChanges: changes)
        guard noise > 0 else { return nil }
        return (move, noise)
    }
}
