import CKernels
import Model

/// How screening multiplies.
enum ScreenArithmetic {
    /// Single precision, on any processor.
    case floats
    /// Rounded to bytes and summed exactly, where the processor has instructions for that.
    case bytes

    static var fastest: ScreenArithmetic { kernel_has_byte_products() != 0 ? .bytes : .floats }
}

/// Some rows of a panel made ready for screening, bucket by bucket, so that a lag is only an offset. Rows that cannot be
/// screened (constant, short, with missing values) have the factor 0.
struct PackedRows {
    let rows: [Int]
    /// Rows padded to a multiple of 32: the length of a line.
    let width: Int
    /// Rows padded to a multiple of 8.
    let paddedCount: Int
    let arithmetic: ScreenArithmetic
    /// Floats: length x width, scaled to norm 1 in the window.
    let values: UnsafeMutablePointer<Float>
    /// Bytes: row by row, 128 more than the value; `stride` apart, with four bytes of value 0 before each row.
    let leaders: UnsafeMutablePointer<UInt8>
    let stride: Int
    /// Bytes: groups of four buckets, the last one full, x width x 4.
    let followers: UnsafeMutablePointer<Int8>
    /// Bytes: by lag, 128 times the sum of each follower's window; (L + 1) x width.
    let offsets: UnsafeMutablePointer<Int32>
    /// K x width: autocorrelations times sqrt(1 - k/n), whose products sum to what the effective size needs.
    let memories: UnsafeMutablePointer<Float>
    /// By lag, then row: mean term and 1 / centred norm of the leader, then those of the follower; each (L + 1) x width.
    let factors: UnsafeMutablePointer<Float>
    /// kappa of each row, 1 or more; infinite where it cannot be screened.
    let conditions: UnsafeMutablePointer<Float>
    /// What rounding to bytes took away, in centred norms.
    let roundings: UnsafeMutablePointer<Float>

    init(_ rows: [Int], of panel: SeriesPanel, arithmetic: ScreenArithmetic) {
        let (length, lags, memory) = (panel.present.length, panel.shape.lag + 1, panel.memory)
        self.rows = rows
        self.arithmetic = arithmetic
        self.width = (rows.count + 31) / 32 * 32
        self.paddedCount = (rows.count + 7) / 8 * 8
        let usesBytes = arithmetic == .bytes
        self.stride = 4 + (length + 3) / 4 * 4
        self.values = memory.take(filledWith: 0, usesBytes ? 0 : length * self.width)
        self.leaders = memory.take(filledWith: 128, usesBytes ? self.stride * self.paddedCount : 0)
        self.followers = memory.take(filledWith: 0, usesBytes ? (length + 3) / 4 * 4 * self.width : 0)
        self.offsets = memory.take(filledWith: 0, usesBytes ? lags * self.width : 0)
        self.memories = memory.take(filledWith: 0, panel.autocorrelationLags * self.width)
        self.factors = memory.take(filledWith: 0, 4 * lags * self.width)
        self.conditions = memory.take(filledWith: .infinity, rows.count)
        self.roundings = memory.take(filledWith: 0, rows.count)
        for (position, row) in rows.enumerated() { self.load(row, at: position, from: panel) }
    }

    private func load(_ row: Int, at position: Int, from panel: SeriesPanel) {
        panel.preparePresent(row)
        let present = panel.present
        guard present.states[row].isPlain else { return }
        self.conditions[position] = 1
        let length = present.length
        let energy = present.moments(row, lag: 0, isFollower: true).energy
        guard energy > 0 else { return }
        let source = present.values + row * length
        var scale = 1 / energy.squareRoot()
        var rounding = 0.0
        switch self.arithmetic {
        case .floats: kernel_pack(source, length, scale, self.values + position, self.width)
        case .bytes:
            scale = 127 / kernel_extreme(source, length)
            let leader = self.leaders + position * self.stride + 4
            rounding = kernel_pack_bytes(
                source, length, scale, leader, self.followers + 4 * position, self.width)
            self.sumFollower(leader, at: position, present)
        }
        let size = (panel.shape.lag + 1) * self.width
        let base = self.factors + position
        var extremes: (Float, Float) = (1, 0)
        withUnsafeTemporaryAllocation(of: UnsafeMutablePointer<Float>?.self, capacity: 4) { starts in
            for part in 0..<4 { starts[part] = base + part * size }
            withUnsafeMutableBytes(of: &extremes) { extremes in
                kernel_lag_factors(
                    present.moments + 4 * (present.lags + 1) * row, length, present.window, panel.shape.lag, scale,
                    starts.baseAddress, self.width, extremes.assumingMemoryBound(to: Float.self).baseAddress)
            }
        }
        self.conditions[position] = extremes.0.squareRoot()
        // A millionth more than measured stands for the rounding of these lines themselves.
        self.roundings[position] = Float(rounding.squareRoot()) * extremes.1 * 1.000_001
        panel.screenMemory(row, into: self.memories + position, stride: self.width)
    }

    private func sumFollower(_ leader: UnsafePointer<UInt8>, at position: Int, _ present: LagWindow) {
        var start = present.length
        var sum: Int32 = 0
        // The longest window first begins at lag 0; later ones lose buckets at the front.
        while start > present.length - present.window {
            start -= 1
            sum += Int32(leader[start]) - 128
        }
        for lag in 0...present.lags {
            let overlap = present.overlap(atLag: lag)
            while start < present.length - overlap {
                sum -= Int32(leader[start]) - 128
                start += 1
            }
            self.offsets[lag * self.width + position] = 128 * sum
        }
    }
}
