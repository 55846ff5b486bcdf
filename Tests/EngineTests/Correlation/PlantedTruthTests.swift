import Engine
import Foundation
import Model
import PlantedData
import Testing

@Suite("Planted truth")
struct PlantedTruthTests {
    static let shape = WindowShape(present: 60, baseline: 180, lag: 4)

    static func evaluate(
        _ rows: [NodeKey: [Double]], shape: WindowShape = Self.shape,
        states: [Layer: (state: LayerReport.State, reason: String)] = [:]
    ) -> EventEvaluation {
        Evaluation.evaluate(
            EvaluationInput(
                domain: "d", block: PlantedSeries.block(rows), shape: shape, events: ["e"], layerStates: states))[0]
    }

    enum Noise: CaseIterable, Sendable { case white, remembering, heavyTailed, young }

    @Test("noise gives an edge in at most 5 % of graphs", arguments: Noise.allCases)
    func noiseStaysSilent(noise: Noise) {
        var graphs = 0
        for seed in 1...60 as ClosedRange<UInt64> {
            var planted = PlantedSeries(seed: seed * 31, length: noise == .young ? 60 : 240)
            var rows: [NodeKey: [Double]] = [:]
            for index in 0..<8 {
                rows[PlantedSeries.node("\(index)")] =
                    noise == .heavyTailed
                    ? planted.heavyTailed() : planted.noise(memory: noise == .remembering ? 0.9 : 0)
            }
            if !Self.evaluate(rows).accepted.isEmpty { graphs += 1 }
        }
        // 5 % of 60 graphs are 3; 7 and more happen by chance in 3 % of runs, and the seeds are fixed.
        #expect(graphs <= 6)
    }

    @Test(
        "a lead of k buckets is found with its direction, sign and size", arguments: [(0, 0.95), (1, -0.9), (3, 0.9)])
    func findsLeads(lag: Int, rho: Double) throws {
        var planted = PlantedSeries(seed: 5, length: 240)
        let leader = planted.noise()
        // The leader's name sorts last, so direction cannot come from the order of names.
        let rows = [
            PlantedSeries.node("z"): leader,
            PlantedSeries.node("a"): planted.follower(of: leader, lag: lag, rho: rho).map { 100 * $0 },
        ]
        let edges = Self.evaluate(rows).accepted
        let edge = try #require(edges.first)
        #expect(edges.count == 1)
        #expect(edge.lagBuckets == lag && edge.relation == (lag == 0 ? .contemporaneous : .leadLag))
        #expect(lag == 0 || edge.source.venue == "z")
        #expect((edge.score < 0) == (rho < 0) && abs(edge.score) > 0.8)
        #expect(edge.lagSource == .baseline)
        #expect(edge.intervalLow < rho && rho < edge.intervalHigh)
        #expect(edge.confidence > 0.9)
        #expect(abs(edge.latencyMs - Double(lag) * 1_000) < 300)
        let beta = lag == 0 ? 1 / (edge.expectedPropagation / (edge.score * edge.score)) : edge.expectedPropagation
        #expect(lag == 0 || abs(beta - 100 * rho) < 30)
    }

    @Test("the ends of a chain are explained by its middle, and a common cause explains its effects")
    func explains() throws {
        var planted = PlantedSeries(seed: 8, length: 240)
        let first = planted.noise()
        let middle = planted.follower(of: first, lag: 1, rho: 0.93)
        let chain = Self.evaluate([
            PlantedSeries.node("a"): first, PlantedSeries.node("b"): middle,
            PlantedSeries.node("c"): planted.follower(of: middle, lag: 1, rho: 0.93),
        ]).accepted
        #expect(chain.count == 3)
        let ends = try #require(chain.first { Set([$0.source.venue, $0.target.venue]) == ["a", "c"] })
        #expect(ends.lagBuckets == 2 && ends.explainedBy?.venue == "b")
        #expect(chain.filter { $0.explainedBy != nil }.count == 1)
        let cause = planted.noise()
        let effects = Self.evaluate([
            PlantedSeries.node("cause"): cause,
            PlantedSeries.node("x"): planted.follower(of: cause, lag: 1, rho: 0.95),
            PlantedSeries.node("y"): planted.follower(of: cause, lag: 2, rho: 0.95),
        ]).accepted
        let between = try #require(effects.first { $0.source.venue != "cause" })
        #expect(between.explainedBy?.venue == "cause")
    }

    @Test("a pair that leads each other is two edges of feedback")
    func feedback() {
        var planted = PlantedSeries(seed: 3, length: 243)
        let (one, two) = (planted.noise(), planted.noise())
        // x repeats y three buckets later in one component, y repeats x in the other.
        let x = (0..<240).map { one[$0 + 3] + two[$0] }
        let y = (0..<240).map { one[$0] * 0.98 + two[$0 + 3] * 1.02 }
        let thresholds = LayerThresholds(direct: 0.3)
        let result = Evaluation.evaluate(
            EvaluationInput(
                domain: "d", block: PlantedSeries.block([PlantedSeries.node("x"): x, PlantedSeries.node("y"): y]),
                shape: WindowShape(present: 60, baseline: 180, lag: 5), events: ["e"], thresholds: thresholds))[0]
        #expect(result.accepted.count == 2)
        #expect(result.accepted.allSatisfy { $0.relation == .feedback && $0.lagBuckets == 3 })
        #expect(Set(result.accepted.map(\.source.venue)) == ["x", "y"])
        #expect(result.layers[0].accepted == 1 && result.layers[0].pairs == 1)
    }

    @Test("no number without change or without data")
    func constantAndShort() {
        var planted = PlantedSeries(seed: 4, length: 240)
        let walk = planted.noise(memory: 0.9999)
        let counts = Self.evaluate([
            PlantedSeries.node("flat"): [Double](repeating: 7, count: 240),
            PlantedSeries.node("rounding"): (0..<240).map { 1e9 + ($0 % 2 == 0 ? 1e-7 : 0) },
            PlantedSeries.node("walk"): walk, PlantedSeries.node("twin"): walk.map { 2 * $0 },
            PlantedSeries.node("unknown"): [Double](repeating: .nan, count: 240),
        ]).layers[0]
        // 7 pairs with a flat series (4 + 3), then walk-twin and two pairs with the unknown one.
        #expect(counts.pairs == 10 && counts.constant == 7 && counts.short == 3 && counts.accepted == 0)
        let young = Self.evaluate([
            PlantedSeries.node("a"): [1, 2, 3, 1, 2], PlantedSeries.node("b"): [1, 2, 3, 1, 2],
        ])
        #expect(young.layers[0].short == 1)
    }

    @Test("a small signal on an offset of a billion is found")
    func largeOffset() {
        var planted = PlantedSeries(seed: 6, length: 240)
        let leader = planted.noise()
        let edges = Self.evaluate([
            PlantedSeries.node("a"): leader.map { 1e9 + 1e-3 * $0 },
            PlantedSeries.node("b"): planted.follower(of: leader, lag: 2, rho: 0.95).map { -1e9 + 1e-3 * $0 },
        ]).accepted
        #expect(edges.map(\.lagBuckets) == [2])
    }

    @Test("gaps shrink the overlap and leave the lag")
    func gaps() throws {
        var planted = PlantedSeries(seed: 7, length: 240)
        let leader = planted.noise()
        var follower = planted.follower(of: leader, lag: 1, rho: 0.95)
        for t in stride(from: 3, to: 240, by: 10) { follower[t] = .nan }
        let edge = try #require(
            Self.evaluate([PlantedSeries.node("a"): leader, PlantedSeries.node("b"): follower]).accepted.first)
        #expect(edge.overlap == 54 && edge.lagBuckets == 1 && edge.source.venue == "a")
        #expect(edge.effectiveSize <= 54)
    }

    @Test("one wild value decides nothing")
    func clips() {
        var planted = PlantedSeries(seed: 12, length: 240)
        var (x, y) = (planted.noise(), planted.noise())
        for t in [30, 100, 170, 210] { (x[t], y[t]) = (1e6, 1e6) }
        #expect(Self.evaluate([PlantedSeries.node("a"): x, PlantedSeries.node("b"): y]).accepted.isEmpty)
    }

    @Test("a layer that fails or waits says so and leaves the others alone")
    func failures() {
        var planted = PlantedSeries(seed: 13, length: 240)
        let leader = planted.noise()
        let rows = [PlantedSeries.node("a"): leader, PlantedSeries.node("b"): leader.map { 2 * $0 }]
        let result = Self.evaluate(
            rows, states: [.crossDomain: (.failed, "no partner"), .crossEvent: (.degraded, "late")])
        #expect(result.layers.map(\.state) == [.ok, .ok, .degraded, .failed])
        #expect(result.accepted.count == 1)
        let stranger = PlantedSeries.node("c", domain: "other")
        let mixed = Self.evaluate(rows.merging([stranger: leader]) { first, _ in first })
        #expect(mixed.layers.map(\.state) == [.failed, .failed, .failed, .ok])
        #expect(mixed.accepted.isEmpty)
    }

    @Test("pairs of two domains meet in L4 with their own q")
    func crossDomain() throws {
        var planted = PlantedSeries(seed: 14, length: 240)
        let leader = planted.noise()
        let own = PlantedSeries.node("a")
        let partner = PlantedSeries.node("b", event: "f", domain: "x")
        let met = PlantedSeries.block([own: leader, partner: planted.follower(of: leader, lag: 2, rho: 0.97)])
        let earlier = Timestamp(milliseconds: 5)
        let result = Evaluation.evaluate(
            EvaluationInput(
                domain: "d", block: PlantedSeries.block([own: leader]), shape: Self.shape, events: ["e"],
                partners: [PartnerBlock(block: met, shape: Self.shape)],
                detectedAt: [EdgeKey(source: own, target: partner, estimator: .pearson): earlier]))[0]
        let edge = try #require(result.accepted.first)
        #expect(edge.layer == .crossDomain && edge.source == own && edge.detectedAt == earlier)
        #expect(result.layers[3].pairs == 1 && result.layers[3].accepted == 1)
    }

    /// Seen to fail: without the removal the cycle alone gives an edge of more than .9.
    @Test("a cycle both nodes share gives no edge once its period is declared; what moves them beside it still does")
    func seasons() throws {
        var planted = PlantedSeries(seed: 12, length: 240)
        let (own, other, pattern) = (planted.noise(), planted.noise(), planted.noise())
        // Not smooth: a sine would count as short, since nothing in it is new.
        let cycle = (0..<240).map { 5 * pattern[$0 % 60] }
        let follower = planted.follower(of: own, lag: 1, rho: 0.95)
        func rows(_ second: [Double]) -> [NodeKey: [Double]] {
            [
                PlantedSeries.node("a"): zip(cycle, own).map { $0 + $1 },
                PlantedSeries.node("b"): zip(cycle, second).map { $0 + $1 },
            ]
        }
        func edges(_ rows: [NodeKey: [Double]], periodMs: Int64) -> [Edge] {
            var input = EvaluationInput(
                domain: "d", block: PlantedSeries.block(rows), shape: Self.shape, events: ["e"])
            input.periods = ["d": periodMs]
            return Evaluation.evaluate(input)[0].accepted
        }
        #expect(abs(try #require(edges(rows(other), periodMs: 0).first).score) > 0.9)
        #expect(edges(rows(other), periodMs: 60_000).isEmpty)
        let found = try #require(edges(rows(follower), periodMs: 60_000).first)
        #expect(found.lagBuckets == 1 && found.source.venue == "a" && found.score > 0.85)
        // A period the baseline of 180 does not hold twice stays; so does one that is no whole number of buckets.
        #expect(!edges(rows(other), periodMs: 120_000).isEmpty)
        #expect(!edges(rows(other), periodMs: 60_500).isEmpty)
    }
}
