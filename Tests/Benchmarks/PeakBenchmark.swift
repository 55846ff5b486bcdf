import CKernels
import CPeak
import Engine
import Foundation
import Model
import PlantedData

/// What share of the processor's peak the products of screening reach: that of the kernels alone on a tile, and that of the
/// whole screening stage, which also corrects for means, keeps maxima and sums autocorrelations. The peak is measured beside
/// them, by multiply-adds in registers.
enum PeakBenchmark {
    static let benchmark = BenchmarkCase(name: "peak", run: Self.run)
    private static let rounds = 15
    private static let rows = 64
    private static let columns = 128
    private static let depth = 256
    private static let nodes = 2_000
    private static let lags = 16

    /// Products a second.
    private struct Rates {
        var peak: [Double] = []
        var kernel: [Double] = []
        var stage: [Double] = []
    }

    static func run() throws -> [Measurement] {
        print(
            "peak: 1 thread, tiles of \(Self.rows) x \(Self.columns) x \(Self.depth); stage: \(Self.nodes) nodes x "
                + "\(Self.depth), lags -\(Self.lags) ... \(Self.lags); median of \(Self.rounds) rounds")
        let input = Self.input()
        var results = Self.measure(
            "floats", peak: peak_float_products, kernel: { Self.floatTile() })
        guard kernel_has_byte_products() != 0 else { return results }
        results += Self.measure("bytes", peak: peak_byte_products, kernel: { Self.byteTile() }) {
            Self.stage(input)
        }
        return results
    }

    private static func measure(
        _ name: String, peak: (Int, UnsafeMutablePointer<Float>?) -> Double, kernel: () -> Double,
        stage: (() -> Double)? = nil
    ) -> [Measurement] {
        var rates = Rates()
        var sink: Float = 1
        for _ in 0..<Self.rounds {
            let start = ContinuousClock.now
            let products = peak(200_000, &sink)
            rates.peak.append(products / ((ContinuousClock.now - start) / .seconds(1)))
            rates.kernel.append(kernel())
            if let stage { rates.stage.append(stage()) }
        }
        // What else the machine does takes from all of them; the fastest round is the one with least of it.
        let best = rates.peak.max() ?? 1
        func share(_ what: String, _ values: [Double]) -> Measurement {
            let top = values.max() ?? 0
            print(
                "  \(name), \(what): \(String(format: "%.1f", top / 1e9)) of \(String(format: "%.1f", best / 1e9)) "
                    + "thousand million products a second")
            return Measurement(
                name: "share of the peak, \(name): \(what)", value: 100 * top / best, unit: "%", peer: nil,
                peerValue: nil, ratio: nil, spread: (top - values.median) / top)
        }
        return [share("kernel on a tile", rates.kernel)] + (stage == nil ? [] : [share("screening stage", rates.stage)])
    }

    private static func rate(_ products: Int, _ body: () -> Void) -> Double {
        let repeats = 40
        let start = ContinuousClock.now
        for _ in 0..<repeats { body() }
        return Double(repeats * products) / ((ContinuousClock.now - start) / .seconds(1))
    }

    private static func floatTile() -> Double {
        let left = [Float](repeating: 0.5, count: Self.rows * Self.depth)
        let right = [Float](repeating: 0.25, count: Self.columns * Self.depth)
        var scores = [Float](repeating: 0, count: Self.rows * Self.columns)
        return Self.rate(Self.rows * Self.columns * Self.depth) {
            kernel_products(
                left, Self.rows, right, Self.columns, Self.rows, Self.columns, Self.depth, &scores, Self.columns)
        }
    }

    private static func byteTile() -> Double {
        let left = [UInt8](repeating: 130, count: Self.rows * Self.depth)
        let right = [Int8](repeating: 3, count: Self.columns * Self.depth)
        let offsets = [Int32](repeating: 0, count: Self.columns)
        var scores = [Float](repeating: 0, count: Self.rows * Self.columns)
        return Self.rate(Self.rows * Self.columns * Self.depth) {
            kernel_byte_products(
                left, Self.depth, right, Self.columns, Self.rows, Self.depth / 4, 0, offsets, &scores)
        }
    }

    private static func input() -> EvaluationInput {
        let length = Self.depth + Self.lags
        return EvaluationInput(
            domain: "d",
            block: SeriesBlock(
                nodes: (0..<Self.nodes).map { PlantedSeries.node(String(100_000 + $0)) }, bucketMs: 1_000,
                windowEnd: Timestamp(milliseconds: 1_600_000_000_000), length: length,
                values: ScreenBenchmark.rows(nodes: Self.nodes, length: length, groupSize: 0)),
            shape: WindowShape(present: Self.depth, baseline: 0, lag: Self.lags), events: ["e"],
            thresholds: LayerThresholds(direct: 0.99))
    }

    /// Only products of values count: each pair at each lag.
    private static func stage(_ input: EvaluationInput) -> Double {
        let watch = StageWatch()
        _ = Evaluation.evaluate(input) { watch.enter($0.rawValue) }
        watch.stop()
        let pairs = Self.nodes * (Self.nodes - 1) / 2
        return Double(pairs * (2 * Self.lags + 1) * Self.depth) / (watch.seconds[EvaluationStage.screen.rawValue] ?? 1)
    }
}
