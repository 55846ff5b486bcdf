import CKernels
import Model

/// Present, baseline and autocorrelations of the series of one block, made on demand and used within one evaluation.
final class SeriesPanel {
    let block: SeriesBlock
    let shape: WindowShape
    /// The last W buckets and, before them, the reach of the lags.
    private(set) var present: LagWindow
    /// Nil unless the block offers a full baseline.
    private(set) var baseline: LagWindow?
    /// Lags 1 ... `autocorrelationLags` of each series' own correlation in the window; rows are made on demand.
    let autocorrelationLags: Int
    /// sqrt(1 - k/n) for those lags.
    let memoryWeights: [Double]
    private var autocorrelations: [Double]
    private var hasAutocorrelation: [Bool]
    private let scratch: UnsafeMutableBufferPointer<Double>

    init(block: SeriesBlock, shape: WindowShape) {
        self.block = block
        self.shape = shape
        let stretch = min(block.length, shape.present + shape.lag)
        self.present = LagWindow(count: block.nodes.count, length: stretch, window: shape.present)
        let baseline = shape.fullBaseline(ofLength: block.length)
        self.baseline =
            baseline > 0 ? LagWindow(count: block.nodes.count, length: baseline, window: baseline) : nil
        self.autocorrelationLags = self.present.window / 4
        self.autocorrelations = [Double](repeating: 0, count: block.nodes.count * self.autocorrelationLags)
        self.hasAutocorrelation = [Bool](repeating: false, count: block.nodes.count)
        let size = Double(self.present.window)
        self.memoryWeights = (0..<self.autocorrelationLags).map { (1 - Double($0 + 1) / size).squareRoot() }
        self.scratch = .allocate(capacity: max(1, max(stretch, baseline)))
    }

    deinit { self.scratch.deallocate() }

    /// The fewest buckets a complete pair has at any lag.
    var leastOverlap: Int { self.present.overlap(atLag: self.shape.lag) }

    func preparePresent(_ row: Int) {
        guard !self.present.states[row].isPrepared else { return }
        self.block.values.withUnsafeBufferPointer { values in
            guard let base = values.baseAddress else { return }
            self.present.prepare(
                row, from: base + (row + 1) * self.block.length - self.present.length, scratch: self.scratch)
        }
    }

    private func prepareBaseline(_ row: Int) {
        // No local copy of the window here: it would make the mutation below copy all rows.
        guard self.baseline?.states[row].isPrepared == false else { return }
        let length = self.baseline?.length ?? 0
        self.block.values.withUnsafeBufferPointer { values in
            guard let base = values.baseAddress else { return }
            let start = (row + 1) * self.block.length - self.shape.present - length
            self.baseline?.prepare(row, from: base + start, scratch: self.scratch)
        }
    }

    /// Whether the lag of a pair can be chosen on the baseline: full where both are known, and both move in it.
    func hasBaseline(_ first: Int, _ second: Int) -> Bool {
        guard self.baseline != nil else { return false }
        self.prepareBaseline(first)
        self.prepareBaseline(second)
        guard let baseline = self.baseline else { return false }
        let states = (baseline.states[first], baseline.states[second])
        if states.0.isConstant || states.1.isConstant || states.0.isShort || states.1.isShort { return false }
        guard states.0.isMissing || states.1.isMissing else { return true }
        let product = baseline.product(first, second, lag: 0)
        return product.isDefined && product.overlap >= 3 * self.shape.present
    }

    /// The autocorrelation of one series at lags 1 ... `autocorrelationLags`, over the window.
    func withAutocorrelation<Result>(_ row: Int, _ body: (UnsafePointer<Double>) -> Result) -> Result? {
        if !self.hasAutocorrelation[row] { self.makeAutocorrelation(row) }
        return self.autocorrelations.withUnsafeBufferPointer { values in
            values.baseAddress.map { body($0 + row * self.autocorrelationLags) }
        }
    }

    private func makeAutocorrelation(_ row: Int) {
        self.hasAutocorrelation[row] = true
        let window = self.present.window
        let start = row * self.present.length + self.present.length - window
        self.autocorrelations.withUnsafeMutableBufferPointer { result in
            self.present.values.withUnsafeBufferPointer { values in
                guard let base = values.baseAddress else { return }
                let series = base + start
                let energy = kernel_product(series, series, window)
                guard energy > 0, let target = result.baseAddress else { return }
                kernel_autocorrelation(
                    series, window, self.autocorrelationLags, energy, target + row * self.autocorrelationLags)
            }
        }
    }

    /// 1 / (1 + 2 sum (1 - k/n) rx(k) ry(k)), at most 1: what share of n buckets counts (Bartlett 1946).
    ///
    /// - Parameter overlap: n, the buckets both have at lag 0.
    func effectiveShare(_ first: Int, _ second: Int, overlap: Int) -> Double {
        let lags = min(overlap / 4, self.autocorrelationLags)
        let sum = self.withAutocorrelation(first) { _ in 0.0 }.flatMap { _ in
            self.withAutocorrelation(second) { y -> Double in
                self.withAutocorrelation(first) { x -> Double in
                    var even = 0.0, odd = 0.0
                    let size = Double(overlap)
                    var k = 0
                    while k + 1 < lags {
                        even += (1 - Double(k + 1) / size) * (x[k] * y[k])
                        odd += (1 - Double(k + 2) / size) * (x[k + 1] * y[k + 1])
                        k += 2
                    }
                    if k < lags { even += (1 - Double(k + 1) / size) * (x[k] * y[k]) }
                    return even + odd
                } ?? 0
            }
        }
        let divisor = 1 + 2 * (sum ?? 0)
        return divisor > 0 ? min(1, 1 / divisor).roundedToNine : 1
    }
}
