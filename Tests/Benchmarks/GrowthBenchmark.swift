import Engine
import Foundation
import Glibc
import Model
import PlantedData

/// How work grows with its size: the slope of the logarithm of time over that of size, by least squares, against the order that
/// is stated for it.
enum GrowthBenchmark {
    static let benchmark = BenchmarkCase(name: "growth", run: Self.run)
    private static let rounds = 5
    /// By how much an exponent may pass its order and still be called no worse.
    private static let noise = 0.1

    private struct Row {
        var name: String
        var sizes: [Int]
        /// Exponent of the stated order.
        var order: Double
        /// Prepares one size; the answer is what is timed.
        var work: (Int) -> () -> Void
    }

    /// - Returns: an exponent per row, with the times it was made of.
    static func run() throws -> [Measurement] {
        print(
            "growth: seed 41, 1 thread, its processor time, least of \(Self.rounds) rounds each; unless it varies: 1,000 nodes, present 256, lags "
                + "-5 ... 5, no pair accepted; paths: 2,000 nodes, 100,000 edges, depth 8")
        print("\n| with | seconds at each size | exponent | stated order | |\n|---|---|---|---|---|")
        return Self.rows.map { row in
            let times = row.sizes.map { Self.least(row.work($0)) }
            let slope = Self.slope(row.sizes, times)
            print(Self.line(row, times, slope: slope))
            return Measurement(
                name: "growth with \(row.name) (\(row.sizes[0]) to \(row.sizes[row.sizes.count - 1]))", value: slope,
                unit: "exponent", peer: "stated order", peerValue: row.order, ratio: row.order / slope, spread: 0,
                sizes: zip(row.sizes, times).map { Measurement.Size(size: $0, seconds: $1) })
        }
    }

    private static func line(_ row: Row, _ times: [Double], slope: Double) -> String {
        let measured = zip(row.sizes, times).map { "\($0): \(String(format: "%.5f", $1))" }.joined(separator: ", ")
        return "| \(row.name) | \(measured) | \(String(format: "%.2f", slope)) | \(String(format: "%g", row.order)) | "
            + "\(slope <= row.order + Self.noise ? "no worse" : "worse") |"
    }

    private static var rows: [Row] {
        [
            Row(name: "nodes", sizes: [500, 1_000, 2_000, 4_000], order: 2) { Self.screen(nodes: $0) },
            Row(name: "buckets", sizes: [128, 256, 512, 1_024, 2_048], order: 1) { Self.screen(present: $0) },
            Row(name: "lags tried", sizes: [3, 9, 17, 33, 65, 129], order: 1) { Self.screen(lag: $0 / 2) },
            Row(name: "accepted pairs", sizes: [5_000, 10_000, 20_000, 40_000], order: 1) { Self.settle(pairs: $0) },
            Row(name: "depth of paths", sizes: [5, 6, 7, 8], order: 1) { Self.paths(edges: 100_000, depth: $0) },
            Row(name: "edges of paths", sizes: [20_000, 40_000, 80_000, 160_000], order: 1) { Self.paths(edges: $0) },
            Row(name: "edges of a graph put together", sizes: [25_000, 50_000, 100_000, 200_000], order: 1) {
                Self.graph(edges: $0)
            },
        ]
    }

    private static func least(_ body: () -> Void) -> Double {
        body()
        return (0..<Self.rounds).map { _ in
            let start = Measurement.seconds(CLOCK_THREAD_CPUTIME_ID)
            body()
            return Measurement.seconds(CLOCK_THREAD_CPUTIME_ID) - start
        }.min() ?? 0
    }

    static func slope(_ sizes: [Int], _ times: [Double]) -> Double {
        let (x, y) = (sizes.map { log(Double($0)) }, times.map { log($0) })
        let (xMean, yMean) = (x.reduce(0, +) / Double(x.count), y.reduce(0, +) / Double(y.count))
        let covariance = zip(x, y).reduce(0) { $0 + ($1.0 - xMean) * ($1.1 - yMean) }
        return covariance / x.reduce(0) { $0 + ($1 - xMean) * ($1 - xMean) }
    }

    private static func screen(
        nodes: Int = 1_000, present: Int = 256, lag: Int = 5, groupSize: Int = 0
    ) -> () -> Void {
        let length = present + lag
        let input = EvaluationInput(
            domain: "d",
            block: SeriesBlock(
                nodes: (0..<nodes).map { PlantedSeries.node(String(100_000 + $0)) }, bucketMs: 1_000,
                windowEnd: Timestamp(milliseconds: 1_600_000_000_000), length: length,
                values: ScreenBenchmark.rows(nodes: nodes, length: length, groupSize: groupSize)),
            shape: WindowShape(present: present, baseline: 0, lag: lag), events: ["e"],
            thresholds: LayerThresholds(direct: groupSize > 0 ? 0.75 : 0.99))
        return { _ = Evaluation.evaluate(input) }
    }

    /// Groups that follow a factor, as large as the number of pairs asks for.
    private static func settle(pairs: Int) -> () -> Void {
        let nodes = 1_000
        return Self.screen(nodes: nodes, groupSize: max(2, Int((2 * Double(pairs) / Double(nodes)).rounded()) + 1))
    }

    private static func paths(edges: Int, depth: Int = 8) -> () -> Void {
        // Few enough that all are reached in five links: below that, work grows with what is reached.
        let nodes = 2_000
        let search = PathSearch(edges: PathBenchmarks.edges(nodes: nodes, degree: edges / nodes, seed: 7))
        let sources = (0..<8).map { PathBenchmarks.node($0 * 311 % nodes) }
        return { for source in sources { _ = search.blastRadius(from: source, depth: depth, floor: 0.5, limit: 1) } }
    }

    private static func graph(edges: Int) -> () -> Void {
        let nodes = 10_000
        let edges = PathBenchmarks.edges(nodes: nodes, degree: edges / nodes, seed: 7)
        return { _ = PathSearch(edges: edges) }
    }
}
