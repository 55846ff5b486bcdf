import Engine
import Model

/// `POST /v1/propagation`: where does a change of the source go?
struct PropagationQuestion: Decodable, Sendable {
    let source: NodeKey
    /// nil: every node that is reached.
    let target: NodeKey?
    /// Links a path may have.
    let depth: Int
    /// Change of the source, source units; nil: one standard deviation of the source.
    let shock: Double?
    /// Least |response| of a reached node, in its standard deviations per one of the source.
    let minImpact: Double
    /// Reached nodes named at most.
    let limit: Int

    private enum Keys: String, CodingKey { case source, target, depth, shock, minImpact, limit }

    init(from decoder: any Decoder) throws {
        let keyed = try decoder.container(keyedBy: Keys.self)
        self.source = try keyed.decode(NodeReference.self, forKey: .source).key("source")
        self.target = try keyed.decodeIfPresent(NodeReference.self, forKey: .target)?.key("target")
        self.depth = try keyed.decodeIfPresent(Int.self, forKey: .depth) ?? 4
        self.shock = try keyed.decodeIfPresent(Double.self, forKey: .shock)
        self.minImpact = try keyed.decodeIfPresent(Double.self, forKey: .minImpact) ?? 0.1
        self.limit = try keyed.decodeIfPresent(Int.self, forKey: .limit) ?? 200
        guard PathSearch.depths.contains(self.depth) else {
            throw ValidationError(
                field: "depth", rule: "must be \(PathSearch.depths.lowerBound) to \(PathSearch.depths.upperBound)")
        }
        guard (1...1_000).contains(self.limit) else { throw ValidationError(field: "limit", rule: "must be 1 to 1000") }
        guard (0...1).contains(self.minImpact) else {
            throw ValidationError(
                field: "minImpact", rule: "must be 0 to 1, in standard deviations of the target per one of the source")
        }
        if let shock = self.shock, !shock.isFinite || shock == 0 || abs(shock) > 1e15 {
            throw ValidationError(field: "shock", rule: "must be a finite number other than 0, at most 1e15 in size")
        }
        if self.target == self.source { throw ValidationError(field: "target", rule: "must not be the source") }
    }
}

/// The answer to a ``PropagationQuestion``.
struct PropagationAnswer: Encodable, Sendable {
    struct Shock: Encodable, Sendable {
        /// Source units, in the transform of the source's domain.
        let value: Double
        /// `given`, or `standardDeviation`: one standard deviation of the source in its present window.
        let basis: String
    }

    struct Interval: Encodable, Sendable {
        let low: Double
        let high: Double
    }

    /// One link of a path.
    struct Hop: Encodable, Sendable {
        let from: NodeKey
        let to: NodeKey
        let layer: Layer
        let r: Double
        /// 95 % interval of r.
        let interval: Interval
        let confidence: Double
        let lagBuckets: Int
        let latencyMs: Double
        /// From the source of the path to the end of this hop.
        let cumulativeLatencyMs: Double
        /// Target units per source unit of this hop.
        let beta: Double
        let effectiveSize: Double
        let windowEnd: Timestamp
    }

    struct Path: Encodable, Sendable {
        let target: NodeKey
        let hops: [Hop]
        /// Product of |r| x confidence, what paths are ranked by.
        let rank: Double
        /// Product of confidences.
        let confidence: Double
        /// Standard deviations of the target per one of the source.
        let response: Double
        /// Target units per source unit, and for the shock, with its 95 % interval by the delta method.
        let beta: Double
        let impact: Double
        let impactInterval: Interval
        let latencyMs: Double
        let arrivesAt: Timestamp?
    }

    let source: NodeKey
    let target: NodeKey?
    let depth: Int
    let shock: Shock?
    /// Newest window an edge was computed from; the clock of the answer. Left out when there are no edges.
    let asOf: Timestamp?
    /// The best path; left out when there is none or no target was given.
    let path: Path?
    /// Without a target: what is reached, in order of arrival.
    let reached: [Path]?
    /// Why there is no path, or nothing is reached.
    let reason: String?
}

extension PropagationAnswer.Path {
    /// - Parameter edges: the edge behind each link.
    init(_ path: PropagationPath, edges: [ForecastPair: Edge], source: NodeKey, asOf: Timestamp?) {
        var cumulative = 0.0
        var hops: [PropagationAnswer.Hop] = []
        for (index, link) in path.links.enumerated() {
            let (from, to) = (path.nodes[index], path.nodes[index + 1])
            cumulative += link.latencyMs
            guard let edge = edges[ForecastPair(source: from, target: to)] else { continue }
            hops.append(
                PropagationAnswer.Hop(
                    from: from, to: to, layer: link.layer, r: link.score,
                    interval: .init(low: edge.intervalLow, high: edge.intervalHigh), confidence: link.confidence,
                    lagBuckets: edge.lagBuckets, latencyMs: link.latencyMs, cumulativeLatencyMs: cumulative,
                    beta: link.beta, effectiveSize: edge.effectiveSize, windowEnd: edge.windowEnd))
        }
        self.target = path.nodes.last ?? source
        self.hops = hops
        self.rank = path.rank
        self.confidence = path.confidence
        self.response = path.response
        self.beta = path.beta
        self.impact = path.impact
        self.impactInterval = .init(low: path.impactLow, high: path.impactHigh)
        self.latencyMs = path.latencyMs
        self.arrivesAt = asOf?.advanced(byMilliseconds: Int64(min(path.latencyMs, 1e15).rounded()))
    }
}
