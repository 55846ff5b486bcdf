import Engine
import Foundation
import Model

/// Seeded series with known relations.
package struct PlantedSeries {
    package var random: RandomStream
    package let length: Int

    package init(seed: UInt64, length: Int) {
        self.random = RandomStream(seed: seed)
        self.length = length
    }

    /// Standard normal (Box and Muller 1958).
    package mutating func normal() -> Double {
        (-2 * log(max(self.random.uniform(), 1e-300))).squareRoot() * cos(2 * .pi * self.random.uniform())
    }

    /// Independent, or with each value keeping `memory` of the one before.
    package mutating func noise(memory: Double = 0) -> [Double] {
        var last = 0.0
        for _ in 0..<(memory > 0 ? 200 : 0) { last = memory * last + self.normal() }
        return (0..<self.length).map { _ in
            last = memory * last + self.normal()
            return last
        }
    }

    /// Student's t with 3 degrees of freedom.
    package mutating func heavyTailed() -> [Double] {
        (0..<self.length).map { _ in
            var squares = 0.0
            for _ in 0..<3 {
                let value = self.normal()
                squares += value * value
            }
            return self.normal() / (squares / 3).squareRoot()
        }
    }

    /// A series that follows `leader` by `lag` buckets with correlation `rho`.
    package mutating func follower(of leader: [Double], lag: Int, rho: Double) -> [Double] {
        let own = self.noise()
        return (0..<self.length).map { t in
            let led = t >= lag ? leader[t - lag] : self.normal()
            return rho * led + (1 - rho * rho).squareRoot() * own[t]
        }
    }

    package static func node(_ name: String, event: String = "e", market: String = "m", domain: String = "d") -> NodeKey
    {
        NodeKey(domain: domain, event: event, market: market, venue: name)
    }

    /// A block of the rows, in order of their nodes.
    package static func block(_ rows: [NodeKey: [Double]]) -> SeriesBlock {
        let nodes = rows.keys.sorted()
        let values = nodes.map { rows[$0] ?? [] }
        return SeriesBlock(
            nodes: nodes, bucketMs: 1_000, windowEnd: Timestamp(milliseconds: 1_600_000_000_000),
            length: values.first?.count ?? 0, values: values.flatMap { $0 })
    }
}
