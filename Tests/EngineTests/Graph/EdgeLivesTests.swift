import Foundation
import Model
import PlantedData
import Testing

@testable import Engine

@Suite("Edge lives")
struct EdgeLivesTests {
    private static let a = NodeKey(domain: "d", event: "e", market: "m", venue: "a")
    private static let b = NodeKey(domain: "d", event: "e", market: "m", venue: "b")
    private static let c = NodeKey(domain: "d", event: "e", market: "m", venue: "c")

    private static func end(_ step: Int) -> Timestamp { Timestamp(milliseconds: Int64(step) * 1_800_000) }

    private static func reading(_ score: Double, lag: Int = 0, size: Double = 100) -> PairReading {
        let interval = FisherStatistics.interval(score: score, effectiveSize: size, critical: 1.96)
        return PairReading(
            score: score, lagBuckets: lag, effectiveSize: size, intervalLow: interval.low, intervalHigh: interval.high)
    }

    /// Negative lags: the second node leads.
    private static func edge(
        _ score: Double, lag: Int = 0, size: Double = 100, from first: NodeKey = Self.a, to second: NodeKey = Self.b
    ) -> Edge {
        let reading = Self.reading(score, size: size)
        return Edge(
            source: lag < 0 ? second : first, target: lag < 0 ? first : second, layer: .direct,
            relation: lag == 0 ? .contemporaneous : .leadLag, estimator: .pearson, score: score, lagBuckets: abs(lag),
            latencyMs: Double(abs(lag)) * 60_000, lagSource: .baseline, overlap: 120, effectiveSize: size,
            intervalLow: reading.intervalLow, intervalHigh: reading.intervalHigh, pValue: 0, qValue: 0, confidence: 0.9,
            expectedPropagation: 1, bucketMs: 60_000, windowStart: Self.end(0), windowEnd: Self.end(1),
            detectedAt: Self.end(1))
    }

    /// What each step gives: an edge, or what is measured instead.
    private static func kinds(_ steps: [(edge: Edge?, reading: PairReading?)]) -> [[EdgeChange.Kind]] {
        var lives = EdgeLives(patience: 4)
        return steps.enumerated().map { step, what in
            lives.follow(what.edge.map { [$0] } ?? [], at: Self.end(step)) { _, _ in what.reading }.map(\.kind)
        }
    }

    @Test("an edge is born once, and what stays within its interval is no change")
    func noise() {
        let scores = [0.8, 0.74, 0.85, 0.79, 0.71, 0.84]
        #expect(Self.kinds(scores.map { (Self.edge($0), nil) }) == [[.born]] + scores.dropFirst().map { _ in [] })
    }

    @Test("it strengthens and weakens where the intervals part, also by a slow drift, and for negative r alike")
    func strength() {
        for sign in [1.0, -1.0] {
            #expect(
                Self.kinds([0.6, 0.9, 0.6].map { (Self.edge(sign * $0), nil) }) == [
                    [.born], [.strengthened], [.weakened],
                ])
            // No step is a change, the whole way is.
            let drift = [0.9, 0.88, 0.86, 0.83, 0.8, 0.77].map {
                (edge: Self.edge(sign * $0), reading: nil as PairReading?)
            }
            #expect(Self.kinds(drift).flatMap(\.self) == [.born, .weakened])
        }
    }

    @Test("it breaks when r is surely smaller, and expires after a window without being accepted when that is not sure")
    func ends() {
        #expect(Self.kinds([(Self.edge(0.9), nil), (nil, Self.reading(0.2))]) == [[.born], [.broken]])
        #expect(
            Self.kinds([(Self.edge(0.6), nil)] + (0..<4).map { _ in (nil, Self.reading(0.5)) })
                == [[.born], [], [], [], [.expired]])
        // Nothing to measure: a node fell silent.
        #expect(
            Self.kinds([(Self.edge(0.9), nil)] + (0..<5).map { _ in (nil, nil) })
                == [[.born], [], [], [], [.expired], []])
        // Back in time: it never went.
        #expect(
            Self.kinds([
                (Self.edge(0.6), nil), (nil, Self.reading(0.5)), (nil, nil), (Self.edge(0.6), nil), (nil, nil),
                (nil, nil), (nil, nil),
            ]).flatMap(\.self) == [.born])
        // The opposite sign, though not enough for an edge.
        #expect(Self.kinds([(Self.edge(0.6), nil), (nil, Self.reading(-0.4))]) == [[.born], [.broken]])
        #expect(Self.kinds([(Self.edge(0.9), nil), (nil, Self.reading(0.1)), (Self.edge(0.8), nil)])[2] == [.born])
    }

    @Test("it flips with the sign of r at once, and with the direction of the lag when that is seen twice")
    func flips() {
        #expect(Self.kinds([(Self.edge(0.7), nil), (Self.edge(-0.7), nil)]) == [[.born], [.flipped]])
        #expect(
            Self.kinds([2, -1, 2, -1, -2, -1].map { (Self.edge(0.7, lag: $0), nil) })
                == [[.born], [], [], [], [.flipped], []])
        var lives = EdgeLives(patience: 4)
        var last: [EdgeChange] = []
        for (step, lag) in [2, -1, -1].enumerated() {
            last = lives.follow([Self.edge(0.7, lag: lag)], at: Self.end(step)) { _, _ in nil }
        }
        // Told from whoever leads now.
        #expect(
            last.first?.source == Self.b && last.first?.before?.lagBuckets == -2 && last.first?.after?.lagBuckets == 1)
    }

    @Test("of a pair that feeds back the stronger edge is followed, in whatever order edges come")
    func order() {
        let edges = [Self.edge(0.7, lag: 1), Self.edge(0.8, lag: -2), Self.edge(0.9, from: Self.a, to: Self.c)]
        var (one, other) = (EdgeLives(patience: 4), EdgeLives(patience: 4))
        let first = one.follow(edges, at: Self.end(0)) { _, _ in nil }
        #expect(first == other.follow(edges.reversed(), at: Self.end(0)) { _, _ in nil })
        #expect(first.map(\.after?.score) == [0.8, 0.9] && first.first?.source == Self.b)
    }

    @Test("the half-life of a planted decay is found within a tenth, and there is none of what does not decay")
    func halfLife() throws {
        func points(_ halfLives: [Double], noise: Double = 0) -> [HalfLife.Point] {
            var z = 1.6
            return halfLives.enumerated().map { step, halfLife in
                defer { z *= exp2(-1_800_000 / halfLife) }
                return HalfLife.Point(
                    timeMs: Int64(step) * 1_800_000, z: z + noise * (step.isMultiple(of: 2) ? 1 : -1),
                    effectiveSize: 100)
            }
        }
        let planted = 3 * 3_600_000.0
        let decay = try #require(HalfLife.decay(points(Array(repeating: planted, count: 16), noise: 0.03), overlap: 4))
        #expect(abs((decay.halfLifeMs ?? 0) / planted - 1) < 0.1)
        let steady = HalfLife.decay(points(Array(repeating: 1e15, count: 16), noise: 0.1), overlap: 4)
        #expect(steady != nil && steady?.halfLifeMs == nil)
        #expect(HalfLife.decay(points(Array(repeating: planted, count: 4)), overlap: 4) == nil)
        // It begins to decay in the second half.
        let fast = points(Array(repeating: 1e15, count: 8) + Array(repeating: 2 * 3_600_000.0, count: 8))
        #expect(HalfLife.hasShrunk(fast, overlap: 4))
        #expect(!HalfLife.hasShrunk(points(Array(repeating: planted, count: 16), noise: 0.03), overlap: 4))
    }

    @Test("a link that begins to decay is warned of once, with its half-life, before it is gone")
    func warned() throws {
        // Eight windows at z 1.6, then half as much every two hours.
        let scores = (0..<18).map { tanh(1.6 * exp2(-Double(max(0, $0 - 7)) * 1_800_000 / 7_200_000)) }
        var lives = EdgeLives(patience: 4)
        let changes = scores.enumerated().flatMap { step, score in
            lives.follow([Self.edge(score, size: 400)], at: Self.end(step)) { _, _ in nil }
        }
        let warnings = changes.filter { $0.kind == .halfLifeShrunk }
        #expect(warnings.count == 1)
        let warning = try #require(warnings.first)
        #expect(warning.windowEnd <= Self.end(17) && (warning.after?.score ?? 0) > 0.2)
        // What is left of the eight steady windows lengthens it.
        let halfLifeMs = try #require(warning.halfLifeMs)
        #expect((7_200_000...4 * 7_200_000).contains(halfLifeMs))
    }

    @Test("a steady link of white noise changes less than once in fifty windows, one that is cut breaks within one")
    func planted() {
        var numbers = SeededNumbers(seed: 5)
        let shape = WindowShape(present: 120, baseline: 0, lag: 0)
        var (changes, windows, delays) = (0, 0, [Int]())
        for _ in 0..<30 {
            var lives = EdgeLives(patience: 4)
            let length = 120 + 30 * 32
            let first = (0..<length).map { _ in numbers.normal() }
            // Cut after two thirds.
            let second = first.enumerated().map { t, x in
                t < 840 ? 0.85 * x + (1 - 0.85 * 0.85).squareRoot() * numbers.normal() : numbers.normal()
            }
            var broken: Int?
            for step in 0...32 {
                let window = step * 30..<step * 30 + 120
                let block = SeriesBlock(
                    nodes: [Self.a, Self.b], bucketMs: 60_000, windowEnd: Self.end(step), length: 120,
                    values: Array(first[window] + second[window]))
                let reading = Evaluation.reading(of: Self.a, and: Self.b, in: block, shape: shape)
                let edge = reading.flatMap { abs($0.score) < 0.55 ? nil : Self.edge($0.score, size: $0.effectiveSize) }
                let kinds = lives.follow(edge.map { [$0] } ?? [], at: Self.end(step)) { _, _ in reading }.map(\.kind)
                if window.upperBound <= 840 {
                    changes += kinds.count { $0 != .born }
                    windows += 1
                } else if kinds.contains(.broken), broken == nil {
                    broken = step - 24
                }
            }
            delays.append(broken ?? 99)
        }
        #expect(Double(changes) <= Double(windows) / 50, "\(changes) of \(windows)")
        #expect(delays.count { $0 <= 4 } >= 29, "\(delays)")
    }
}
