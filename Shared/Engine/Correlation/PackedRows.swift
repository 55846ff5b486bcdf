import CKernels
import Model

/// Some rows of a panel in float, bucket by bucket, so that a lag is only an offset. Rows that cannot be screened (constant,
/// short, with missing values) stay 0.
final class PackedRows {
    let rows: [Int]
    /// Rows padded to a multiple of 16: the length of a line.
    let width: Int
    /// Rows padded to a multiple of 4.
    let paddedCount: Int
    /// length x width, scaled to norm 1 in the window.
    private(set) var values: [Float]
    /// K x width: autocorrelations times sqrt(1 - k/n), whose products sum to what the effective size needs.
    private(set) var memories: [Float]
    /// By lag, then row: mean term and 1 / centred norm of the leader, then those of the follower; each (L + 1) x width.
    private(set) var factors: [Float]
    /// kappa of each row, 1 or more.
    private(set) var conditions: [Float]

    init(_ rows: [Int], of panel: SeriesPanel) {
        self.rows = rows
        self.width = (rows.count + 15) / 16 * 16
        self.paddedCount = (rows.count + 3) / 4 * 4
        self.values = [Float](repeating: 0, count: panel.present.length * self.width)
        self.memories = [Float](repeating: 0, count: panel.autocorrelationLags * self.width)
        self.factors = [Float](repeating: 0, count: 4 * (panel.shape.lag + 1) * self.width)
        self.conditions = [Float](repeating: 1, count: rows.count)
        for (position, row) in rows.enumerated() { self.load(row, at: position, from: panel) }
    }

    private func load(_ row: Int, at position: Int, from panel: SeriesPanel) {
        panel.preparePresent(row)
        guard panel.present.states[row].isPlain else { return }
        let present = panel.present
        let length = present.length
        let energy = present.moments(row, lag: 0, isFollower: true).energy
        guard energy > 0 else { return }
        let scale = 1 / energy.squareRoot()
        let width = self.width
        self.values.withUnsafeMutableBufferPointer { target in
            guard let target = target.baseAddress else { return }
            kernel_pack(present.values + row * length, length, scale, target + position, width)
        }
        self.conditions[position] = self.loadFactors(row, at: position, from: panel, scale).squareRoot()
        let correlations = panel.autocorrelation(row)
        panel.memoryWeights.withUnsafeBufferPointer { weights in
            self.memories.withUnsafeMutableBufferPointer { memories in
                for k in weights.indices { memories[k &* width &+ position] = Float(correlations[k] * weights[k]) }
            }
        }
    }

    private func loadFactors(_ row: Int, at position: Int, from panel: SeriesPanel, _ scale: Double) -> Float {
        let present = panel.present
        let width = self.width
        let lags = panel.shape.lag
        return self.factors.withUnsafeMutableBufferPointer { factors in
            guard let base = factors.baseAddress else { return 1 }
            let size = (lags + 1) * width
            var starts: InlineFactors = (
                base + position, base + size + position, base + 2 * size + position, base + 3 * size + position
            )
            return withUnsafeBytes(of: &starts) { bytes in
                bytes.withMemoryRebound(to: UnsafeMutablePointer<Float>?.self) {
                    kernel_lag_factors(
                        present.moments + 4 * (lags + 1) * row, present.length, present.window, lags, scale,
                        $0.baseAddress, width)
                }
            }
        }
    }

    private typealias InlineFactors = (
        UnsafeMutablePointer<Float>?, UnsafeMutablePointer<Float>?, UnsafeMutablePointer<Float>?,
        UnsafeMutablePointer<Float>?
    )
}
