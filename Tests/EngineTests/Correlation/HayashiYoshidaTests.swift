import Engine
import Foundation
import Model
import PlantedData
import Recordings
import Testing

@Suite("Hayashi-Yoshida")
struct HayashiYoshidaTests {
    /// A random walk seen at random times by two observers, the second `delay` ms later.
    static func pair(seed: UInt64, delay: Int64) -> (TickSeries, TickSeries) {
        var planted = PlantedSeries(seed: seed, length: 1)
        var level = 0.0
        let walk = (0..<4_000).map { _ in
            level += planted.normal()
            return level
        }
        var ticks: [[Reading]] = [[], []]
        for (side, shift) in [(0, Int64(0)), (1, delay)] {
            for second in walk.indices where planted.random.uniform() < 0.3 {
                ticks[side].append(
                    Reading(timeMs: Int64(second) * 1_000 + shift, value: walk[second] + 0.7 * planted.normal()))
            }
        }
        return (TickSeries(ticks[0], transform: .level), TickSeries(ticks[1], transform: .level))
    }

    /// Every pair of increments, by the definition.
    static func slow(_ x: TickSeries, _ y: TickSeries, lag: Int64) -> Double {
        var cross = 0.0
        for i in 1..<x.times.count {
            for j in 1..<y.times.count
            where max(x.times[i - 1], y.times[j - 1] - lag) < min(x.times[i], y.times[j] - lag) {
                cross += (x.values[i] - x.values[i - 1]) * (y.values[j] - y.values[j - 1])
            }
        }
        func variation(_ series: TickSeries) -> Double {
            zip(series.values.dropFirst(), series.values).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
        }
        return cross / (variation(x) * variation(y)).squareRoot()
    }

    @Test("finds a lead between irregular ticks, its sign turns with the order, and the sum is the definition's")
    func findsLead() throws {
        let (x, y) = Self.pair(seed: 2, delay: 4_000)
        let options = HayashiYoshida.Options(lagStepMs: 1_000, lagLimitMs: 10_000, blockMs: 100_000, shifts: 20)
        let forward = try #require(HayashiYoshida.estimate(x, y, options: options))
        #expect(forward.lagMs == 4_000)
        #expect(abs(forward.rho) > forward.threshold && forward.pValue < 1e-4)
        #expect(forward.rhoLow < forward.rho && forward.rho < forward.rhoHigh)
        let head = TickSeries(
            zip(x.times, x.values).prefix(300).map { Reading(timeMs: $0, value: $1) }, transform: .level)
        let tail = TickSeries(
            zip(y.times, y.values).prefix(300).map { Reading(timeMs: $0, value: $1) }, transform: .level)
        let short = try #require(
            HayashiYoshida.estimate(
                head, tail, options: .init(lagStepMs: 1_000, lagLimitMs: 0, blockMs: 100_000, shifts: 2)))
        #expect(abs(short.rho - Self.slow(head, tail, lag: 0)) < 2e-9)
        let backward = try #require(HayashiYoshida.estimate(y, x, options: options, threshold: 0.1))
        #expect(backward.lagMs == -4_000 && abs(backward.rho - forward.rho) < 0.02)
        #expect(HayashiYoshida.estimate(x, y, options: options) == forward)
    }

    @Test("bitFlyer leads btcbox by about 15 s on the recording of 2018-08-12")
    func recording() throws {
        let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("Samples/market-btcjpy/btcjpy-2018-08-12-am.csv.gz").path
        try #require(FileManager.default.fileExists(atPath: path), "the sample is part of the repository")
        var ticks: [String: [Reading]] = [:]
        let reader = try RecordingReader(path: path)
        while let item = try reader.next() {
            ticks[item.node.venue, default: []].append(Reading(timeMs: item.time.milliseconds, value: item.value))
        }
        let x = TickSeries(ticks["bitflyer"] ?? [], transform: .logReturn)
        let y = TickSeries(ticks["btcbox"] ?? [], transform: .logReturn)
        let options = HayashiYoshida.Options(lagStepMs: 3_000, lagLimitMs: 60_000, draws: 50, shifts: 10)
        let estimate = try #require(HayashiYoshida.estimate(x, y, options: options))
        #expect((12_000...18_000).contains(estimate.lagMs))
        #expect(abs(estimate.rho - 0.154) < 0.005)
        #expect(abs(estimate.rhoAtZero - 0.034) < 0.005)
        #expect(estimate.threshold > 0.015 && estimate.threshold < 0.05)
        let reversed = try #require(HayashiYoshida.estimate(y, x, options: options, threshold: 0.05))
        #expect(reversed.lagMs == -estimate.lagMs)
    }

    @Test("ticks give L1 an edge that the clock cannot see, named by its estimator")
    func edgeFromTicks() throws {
        let (x, y) = Self.pair(seed: 3, delay: 4_000)
        let nodes = [PlantedSeries.node("a"), PlantedSeries.node("b")]
        let block = SeriesBlock(
            nodes: nodes, bucketMs: 1_000, windowEnd: Timestamp(milliseconds: 4_010_000), length: 60,
            values: [Double](repeating: 1, count: 120))
        let ticks = TickWindow(
            ticks: [nodes[0]: x, nodes[1]: y],
            options: .init(lagStepMs: 1_000, lagLimitMs: 8_000, blockMs: 100_000, shifts: 20), bucketMs: 1_000,
            windowEnd: block.windowEnd)
        let result = Evaluation.evaluate(
            EvaluationInput(
                domain: "d", block: block, shape: WindowShape(present: 60, baseline: 0, lag: 5), events: ["e"],
                tickEdges: ["e": ticks.edges()]))[0]
        let edge = try #require(result.accepted.first)
        #expect(edge.estimator == .hayashiYoshida && edge.source == nodes[0] && edge.latencyMs == 4_000)
        #expect(edge.confidence > 0.9 && edge.effectiveSize >= 10)
        #expect(result.layers[0].accepted == 1 && result.layers[0].constant == 0 && result.layers[0].rejected == 0)
    }
}
