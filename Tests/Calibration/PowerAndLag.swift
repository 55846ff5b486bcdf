import Engine
import Foundation
import Model
import PlantedData

/// How often a true relation is found, which way it points, and how far off its lag is.
enum PowerAndLag {
    static let section = CalibrationCommand.Section(
        name: "power",
        about: """
            Power: one planted pair at lag 1 ... 5 among 12 nodes, present 120, lag from a baseline of 720: share accepted. Direction: \
            share of pairs whose leader is named. Sub-bucket lag: true lags of .5 to 4.5 buckets, error of the refined lag in buckets.
            """, run: Self.run)

    private static func run(_ scale: Double) -> [CalibrationRow] {
        Self.power(Int(400 * scale)) + Self.direction(Int(3_000 * scale)) + Self.refinement(Int(300 * scale))
    }

    private static func power(_ graphs: Int) -> [CalibrationRow] {
        var rows: [CalibrationRow] = []
        for memory in [0, 0.5, 0.9] {
            for rho in [0.9, 0.8] {
                for threshold in [0.55, 0.65, 0.75, 0.85] {
                    var planted = PlantedSeries(seed: 301, length: 845)
                    let found = (0..<graphs).count { graph in
                        var series = planted.pair(rho: rho, memory: memory, lag: 1 + graph % 5)
                        for _ in 2..<NullGraphs.nodes { series.append(planted.noise(memory: memory)) }
                        return PlantedGraph.evaluate(
                            series, present: 120, baseline: 720, lag: 5, threshold: threshold
                        ).accepted.contains { max(PlantedGraph.row($0.source), PlantedGraph.row($0.target)) == 1 }
                    }
                    let isPromised = memory == 0 && threshold <= 0.75
                    let goal: CalibrationRow.Goal =
                        isPromised ? .atLeast(rho == 0.9 ? 0.99 : 0.9) : .none
                    rows.append(
                        CalibrationRow(
                            "power", "rho \(rho), AR(1) \(memory), T \(threshold)", hits: found, of: graphs, goal: goal)
                    )
                }
            }
        }
        return rows
    }

    private static func direction(_ pairs: Int) -> [CalibrationRow] {
        var rows: [CalibrationRow] = []
        for memory in [0, 0.9] {
            for rho in [0.5, 0.7, 0.9] {
                var planted = PlantedSeries(seed: 302, length: 845)
                var (tested, right) = (0, 0)
                for number in 0..<pairs {
                    let found = PlantedGraph.evaluate(
                        planted.pair(rho: rho, memory: memory, lag: 1 + number % 5), present: 120, baseline: 720,
                        lag: 5, threshold: 0, keepsRejected: true)
                    let edge = found.accepted.first
                    let ahead = edge.map { $0.lagBuckets * (PlantedGraph.row($0.source) == 0 ? 1 : -1) }
                    // A pair too short to be tested has no direction.
                    guard let lag = ahead ?? found.rejected.first?.lagBuckets else { continue }
                    tested += 1
                    right += lag > 0 ? 1 : 0
                }
                rows.append(
                    CalibrationRow(
                        "power", "direction, rho \(rho), AR(1) \(memory)", hits: right, of: tested,
                        goal: .atLeast(0.999)))
            }
        }
        return rows
    }

    /// A slow series seen by two nodes in buckets of ten steps, each with noise of its own.
    private static func refinement(_ pairs: Int) -> [CalibrationRow] {
        [0.25, 1, 4].map { ratio in
            var errors: [Double] = []
            for number in 0..<pairs {
                var planted = PlantedSeries(seed: UInt64(9_000 + number), length: 8_600)
                let signal = planted.noise(memory: 0.95)
                let lag = 0.5 + 4 * planted.random.uniform()
                let shift = Int((lag * 10).rounded())
                func seen(_ start: Int) -> [Double] {
                    let buckets = (0..<845).map { bucket in
                        signal[start + bucket * 10..<start + bucket * 10 + 10].reduce(0, +) / 10
                    }
                    let mean = buckets.reduce(0, +) / 845
                    let power = buckets.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 845
                    return buckets.map { $0 + planted.normal() * (power / ratio).squareRoot() }
                }
                let rows = [seen(100), seen(100 - shift)]
                guard
                    let edge = PlantedGraph.evaluate(rows, present: 120, baseline: 720, lag: 8, threshold: 0.05)
                        .accepted.first
                else { continue }
                let found = edge.latencyMs / 1_000 * (PlantedGraph.row(edge.source) == 0 ? 1 : -1)
                errors.append(abs(found - Double(shift) / 10))
            }
            return CalibrationRow(
                "power", "lag error in buckets, signal to noise \(ratio)", mean: errors,
                goal: ratio >= 1 ? .atMost(0.1) : .none)
        }
    }
}
