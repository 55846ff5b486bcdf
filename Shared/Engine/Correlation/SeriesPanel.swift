import CKernels
import Model

/// Present, baseline and autocorrelations of the series of one block, made on demand and used within one evaluation.
final class SeriesPanel {
    let block: SeriesBlock
    /// Holds everything that is made of the block.
    let memory = WorkMemory()
    let shape: WindowShape
    /// The last W buckets and, before them, the reach of the lags.
    let present: LagWindow
    /// Nil unless the block offers a full baseline.
    let baseline: LagWindow?
    /// Lags 1 ... `autocorrelationLags` of each series' own correlation in the window; rows are made on demand.
    let autocorrelationLags: Int
    /// sqrt(1 - k/n) for those lags.
    let memoryWeights: [Double]
    private let autocorrelations: UnsafeMutablePointer<Double>
    private let hasAutocorrelation: UnsafeMutablePointer<Bool>
    private let scratch: UnsafeMutablePointer<Float>

    init(block: SeriesBlock, shape: WindowShape) {
        self.block = block
        self.shape = shape
        let stretch = min(block.length, shape.present + shape.lag)
        self.present = LagWindow(
            count: block.nodes.count, length: stretch, window: shape.present, lags: shape.lag,
            memory: self.memory)
        let baseline = shape.fullBaseline(ofLength: block.length)
        self.baseline =
            baseline > 0
            ? LagWindow(
                count: block.nodes.count, length: baseline, window: baseline, lags: shape.lag, memory: self.memory)
            : nil
        self.autocorrelationLags = self.present.window / 4
        self.autocorrelations = self.memory.take(Double.self, block.nodes.count * self.autocorrelationLags)
        self.hasAutocorrelation = self.memory.take(filledWith: false, block.nodes.count)
        self.scratch = self.memory.take(Float.self, self.present.window + 80)
        let size = Double(self.present.window)
        self.memoryWeights = (0..<self.autocorrelationLags).map { (1 - Double($0 + 1) / size).squareRoot() }
    }

    /// How far a sum of `autocorrelationLags` products of what ``screenMemory(_:into:stride:)`` gives may be from the true
    /// one: each factor, at most 1 in size, is (n + 8) u off, the sum of K products (K + 16) u K.
    var memorySlack: Float {
        let (count, lags) = (Float(self.present.window), Float(self.autocorrelationLags))
        return (2 * (count + 10) + lags + 16) * max(1, lags) * 0x1p-24
    }

    /// The fewest buckets a complete pair has at any lag.
    var leastOverlap: Int { self.present.overlap(atLag: self.shape.lag) }

    func preparePresent(_ row: Int) {
        guard !self.present.states[row].isPrepared else { return }
        self.block.values.withUnsafeBufferPointer { values in
            guard let base = values.baseAddress else { return }
            self.present.prepare(row, from: base + (row + 1) * self.block.length - self.present.length)
        }
    }

    private func prepareBaseline(_ row: Int) {
        guard let baseline = self.baseline, !baseline.states[row].isPrepared else { return }
        self.block.values.withUnsafeBufferPointer { values in
            guard let base = values.baseAddress else { return }
            baseline.prepare(
                row, from: base + (row + 1) * self.block.length - self.shape.present - baseline.length)
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

    /// The autocorrelation of one series at lags 1 ... `autocorrelationLags`, over the window; lives as long as the panel.
    func autocorrelation(_ row: Int) -> UnsafePointer<Double> {
        let target = self.autocorrelations + row * self.autocorrelationLags
        guard !self.hasAutocorrelation[row] else { return UnsafePointer(target) }
        self.hasAutocorrelation[row] = true
        let window = self.present.window
        let series = self.present.values + (row + 1) * self.present.length - window
        let energy = kernel_product(series, series, window)
        if energy > 0 {
            kernel_autocorrelation(series, window, self.autocorrelationLags, energy, target)
        } else {
            target.initialize(repeating: 0, count: self.autocorrelationLags)
        }
        return UnsafePointer(target)
    }

    /// Autocorrelations times sqrt(1 - k/n) of a complete series, in float, `stride` apart.
    func screenMemory(_ row: Int, into target: UnsafeMutablePointer<Float>, stride: Int) {
        let window = self.present.window
        let series = self.present.values + (row + 1) * self.present.length - window
        let energy = kernel_product(series, series, window)
        guard energy > 0 else { return }
        self.memoryWeights.withUnsafeBufferPointer {
            kernel_memories(
                series, window, self.autocorrelationLags, energy, $0.baseAddress, self.scratch, target, stride)
        }
    }

    /// 1 / (1 + 2 sum (1 - k/n) rx(k) ry(k)), at most 1: what share of n buckets counts (Bartlett 1946).
    ///
    /// - Parameter overlap: n, the buckets both have at lag 0.
    func effectiveShare(_ first: Int, _ second: Int, overlap: Int) -> Double {
        let lags = min(overlap / 4, self.autocorrelationLags)
        let (x, y) = (self.autocorrelation(first), self.autocorrelation(second))
        var (even, odd) = (0.0, 0.0)
        let size = Double(overlap)
        var k = 0
        while k + 1 < lags {
            even += (1 - Double(k + 1) / size) * (x[k] * y[k])
            odd += (1 - Double(k + 2) / size) * (x[k + 1] * y[k + 1])
            k += 2
        }
        if k < lags { even += (1 - Double(k + 1) / size) * (x[k] * y[k]) }
        let divisor = 1 + 2 * (even + odd)
        return divisor > 0 ? min(1, 1 / divisor).roundedToNine : 1
    }
}
