import Engine
import Foundation
import Model
import PlantedData

/// Computes the four layers of one event anew: 50 nodes, 256 buckets, 33 lags.
enum LayersBenchmark {
    static let benchmark = BenchmarkCase(name: "layers", run: Self.run)
    static let seed: UInt64 = 11

    static func run() throws -> [Measurement] {
        print("layers: seed \(Self.seed), 1 thread, float32 screening, float64 settling, one window end per call")
        var results: [Measurement] = []
        for (name, present, baseline) in [("lag on the present of 256", 256, 0), ("lag on a baseline of 192", 64, 192)]
        {
            let input = Self.input(present: present, baseline: baseline)
            let answer = Evaluation.evaluate(input)
            try Self.check(answer, input)
            print("  \(name): " + Self.summary(answer))
            results.append(
                try Measurement.time(
                    "compute all layers anew, 50 nodes, 256 buckets, 33 lags (\(name))", repeats: 20,
                    peer: ("one look-up of stored rows", 377)
                ) {
                    guard Evaluation.evaluate(input).count == 1 else { throw WrongAnswer(description: "no graph") }
                })
        }
        return results
    }

    private static func summary(_ answer: [EventEvaluation]) -> String {
        answer.flatMap(\.layers).map { "\($0.layer.code) \($0.accepted)/\($0.pairs)" }.joined(separator: ", ")
    }

    /// 30 nodes of the event in 6 markets, 10 of another event, 10 of another domain; half of them follow one of four
    /// hidden drivers by 0 to 12 buckets, the others are noise with a memory of 0.5.
    static func input(present: Int, baseline: Int) -> EvaluationInput {
        var planted = PlantedSeries(seed: Self.seed, length: 256)
        let drivers = (0..<4).map { _ in planted.noise() }
        var own: [NodeKey: [Double]] = [:]
        var met: [NodeKey: [Double]] = [:]
        for index in 0..<50 {
            let node = NodeKey(
                domain: index < 40 ? "sport" : "crypto", event: index < 30 ? "match" : index < 40 ? "derby" : "coin",
                market: "market-\(index % 6)", venue: "venue-\(index)")
            let row =
                index % 2 == 0
                ? planted.follower(of: drivers[index / 2 % 4], lag: index * 7 % 13, rho: 0.97)
                : planted.noise(memory: 0.5)
            if index < 40 { own[node] = row }
            if index < 30 || index >= 40 { met[node] = row }
        }
        let shape = WindowShape(present: present, baseline: baseline, lag: 16)
        return EvaluationInput(
            domain: "sport", block: PlantedSeries.block(own), shape: shape, events: ["match"],
            partners: [PartnerBlock(block: PlantedSeries.block(met), shape: shape)])
    }

    /// Every pair settled by the slow reference: the same edges, lags and numbers.
    private static func check(_ answer: [EventEvaluation], _ input: EvaluationInput) throws {
        let thresholds = input.thresholds
        var expected: [String: SlowReference.Found] = [:]
        for (block, isPartner) in [(input.block, false), (input.partners[0].block, true)] {
            let reference = SlowReference(block: block, shape: input.shape)
            for i in block.nodes.indices {
                for j in (i + 1)..<block.nodes.count {
                    let layer = Layer(of: block.nodes[i], and: block.nodes[j])
                    guard (layer == .crossDomain) == isPartner,
                        block.nodes[i].event == "match" || block.nodes[j].event == "match",
                        let found = reference.settle(i, j), abs(found.score) >= thresholds[layer]
                    else { continue }
                    expected["\(block.nodes[i].display) \(block.nodes[j].display)"] = found
                }
            }
        }
        let edges = answer.flatMap(\.accepted).filter { $0.relation != .feedback }
        guard !edges.isEmpty, edges.count == expected.count else {
            throw WrongAnswer(description: "\(edges.count) edges, the reference has \(expected.count)")
        }
        for edge in edges {
            let (first, second) = edge.source < edge.target ? (edge.source, edge.target) : (edge.target, edge.source)
            guard let found = expected["\(first.display) \(second.display)"], abs(found.score - edge.score) < 2e-9,
                abs(found.lag) == edge.lagBuckets, (found.lag >= 0) == (first == edge.source),
                abs(found.effectiveSize - edge.effectiveSize) < 1e-5
            else { throw WrongAnswer(description: "\(first.display) - \(second.display) differs from the reference") }
        }
    }
}
