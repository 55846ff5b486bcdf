import Engine
import Foundation
import Model
import PlantedData
import Testing

@Suite("Evaluation against the slow reference")
struct EvaluationReferenceTests {
    /// Three events of six nodes, one domain: followers of two drivers, noise with memory, a large offset.
    static func block(seed: UInt64, length: Int) -> SeriesBlock {
        var planted = PlantedSeries(seed: seed, length: length)
        let drivers = [planted.noise(), planted.noise(memory: 0.6)]
        var rows: [NodeKey: [Double]] = [:]
        for index in 0..<18 {
            let node = PlantedSeries.node("v\(index)", event: "e\(index / 6)", market: "m\(index % 3)")
            switch index % 4 {
            case 0: rows[node] = planted.noise(memory: index % 8 == 0 ? 0.95 : 0.4)
            case 1:
                rows[node] = planted.follower(of: drivers[index % 2], lag: index % 3, rho: 0.9).map { 1e9 + 1e-3 * $0 }
            case 2: rows[node] = planted.follower(of: drivers[index / 4 % 2], lag: index % 4, rho: -0.93)
            default: rows[node] = planted.follower(of: drivers[0], lag: 0, rho: 0.6)
            }
        }
        return PlantedSeries.block(rows)
    }

    @Test(
        "every accepted edge, lag, score and p is the slow one's",
        arguments: [(1, 40, 120, 172), (2, 40, 120, 160), (3, 60, 0, 60), (4, 60, 0, 80)] as [(UInt64, Int, Int, Int)])
    func agrees(seed: UInt64, present: Int, baseline: Int, length: Int) throws {
        let block = Self.block(seed: seed, length: length)
        let shape = WindowShape(present: present, baseline: baseline, lag: 4)
        let input = EvaluationInput(domain: "d", block: block, shape: shape, events: ["e0", "e1"])
        let reference = SlowReference(block: block, shape: shape)
        for result in Evaluation.evaluate(input) {
            var found: [SlowReference.Found] = []
            var short = 0
            var pairs = 0
            for i in block.nodes.indices {
                for j in block.nodes.indices.dropFirst(i + 1)
                where block.nodes[i].event == result.event || block.nodes[j].event == result.event {
                    pairs += 1
                    guard let pair = reference.settle(i, j) else {
                        short += 1
                        continue
                    }
                    let layer = Layer(of: pair.first, and: pair.second)
                    if abs(pair.score) >= layer.defaultThreshold { found.append(pair) }
                }
            }
            let edges = result.accepted.filter { $0.relation != .feedback }
            #expect(!edges.isEmpty)
            #expect(edges.count == found.count)
            #expect(result.layers.reduce(0) { $0 + $1.pairs } == pairs)
            #expect(result.layers.reduce(0) { $0 + $1.short } == short)
            for edge in edges {
                let pair = try #require(found.first { Set([$0.first, $0.second]) == [edge.source, edge.target] })
                // Some series hold a signal of 1e-3 on an offset of 1e9: seven digits are left to compare.
                #expect(abs(pair.score - edge.score) < 1e-8)
                #expect(abs(pair.lag) == edge.lagBuckets)
                #expect((pair.lag >= 0) == (pair.first == edge.source))
                #expect(abs(pair.effectiveSize - edge.effectiveSize) < 1e-6)
                #expect(abs(pair.pValue - edge.pValue) <= 1e-6 * pair.pValue + 1e-13)
            }
        }
    }

    @Test("what else is asked in the same call, and settling everything, changes nothing about an event")
    func independentOfBatch() {
        let block = Self.block(seed: 9, length: 160)
        let shape = WindowShape(present: 40, baseline: 120, lag: 4)
        func evaluate(_ events: [String], settlesAll: Bool = false) -> [EventEvaluation] {
            Evaluation.evaluate(
                EvaluationInput(domain: "d", block: block, shape: shape, events: events, includesRejected: settlesAll))
        }
        let together = evaluate(["e2", "e0", "e1", "e0"])
        #expect(together.map(\.event) == ["e0", "e1", "e2"])
        for result in together {
            #expect(evaluate([result.event])[0].accepted == result.accepted)
            #expect(evaluate([result.event])[0].layers == result.layers)
            let all = evaluate([result.event], settlesAll: true)[0]
            #expect(all.accepted == result.accepted)
            #expect(all.layers == result.layers)
            for report in all.layers {
                let listed = all.rejected.filter { $0.layer == report.layer }.count
                #expect(listed == report.pairs - report.accepted)
                #expect(report.pairs == report.accepted + report.rejected + report.short + report.constant)
            }
        }
    }
}
