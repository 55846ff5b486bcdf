import Engine
import Model
import PlantedData

/// Rows of numbers as the nodes of one event, and what the engine makes of them.
enum PlantedGraph {
    static func node(_ row: Int) -> NodeKey {
        NodeKey(domain: "d", event: "e", market: "m", venue: String(1_000 + row))
    }

    /// The rows' number of a node.
    static func row(_ node: NodeKey) -> Int { (Int(node.venue) ?? 1_000) - 1_000 }

    /// - Parameters:
    ///   - baseline: 0: lags are chosen on the present.
    ///   - threshold: of L1, which all pairs belong to.
    ///   - keepsRejected: false is the product's way, by screening.
    static func evaluate(
        _ rows: [[Double]], present: Int, baseline: Int, lag: Int, threshold: Double, keepsRejected: Bool = false
    ) -> EventEvaluation {
        let block = SeriesBlock(
            nodes: rows.indices.map(self.node), bucketMs: 1_000,
            windowEnd: Timestamp(milliseconds: 1_600_000_000_000), length: rows[0].count, values: rows.flatMap { $0 })
        let input = EvaluationInput(
            domain: "d", block: block, shape: WindowShape(present: present, baseline: baseline, lag: lag),
            events: ["e"], thresholds: LayerThresholds(direct: threshold), includesRejected: keepsRejected)
        return Evaluation.evaluate(input)[0]
    }
}

extension PlantedSeries {
    /// Two rows whose innovations have correlation `rho`, the second `lag` buckets behind.
    package mutating func pair(rho: Double, memory: Double = 0, lag: Int = 0) -> [[Double]] {
        let warmUp = memory > 0 ? 300 : lag
        var (first, second) = (0.0, 0.0)
        var led: [Double] = []
        var rows: [[Double]] = [[], []]
        for step in 0..<self.length + warmUp {
            let innovation = self.normal()
            led.append(innovation)
            let leading = step >= lag ? led[step - lag] : self.normal()
            first = memory * first + innovation
            second = memory * second + rho * leading + (1 - rho * rho).squareRoot() * self.normal()
            guard step >= warmUp else { continue }
            rows[0].append(first)
            rows[1].append(second)
        }
        return rows
    }
}
