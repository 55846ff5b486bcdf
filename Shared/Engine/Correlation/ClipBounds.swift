import CKernels

/// The range a window is clipped to before r: median +- 3 x 1.4826 MAD, so that a few wild values decide nothing.
///
/// Where more than half of the values equal the median the MAD is 0; then 1.2533 x the mean absolute deviation (also the
/// standard deviation of a normal law) stands for it.
struct ClipBounds {
    /// Low end, high end, largest absolute value.
    let range: (low: Double, high: Double, extreme: Double)
    /// Values that differ from the median.
    let informative: Int

    /// - Parameters:
    ///   - values: the finite values of the window, `count` > 0 of them.
    ///   - scratch: room for as many.
    init(_ values: UnsafePointer<Double>, count: Int, scratch: UnsafeMutablePointer<Double>) {
        var range = (low: 0.0, high: 0.0, extreme: 0.0)
        self.informative = withUnsafeMutableBytes(of: &range) { bytes in
            bytes.withMemoryRebound(to: Double.self) { kernel_clip_range(values, count, scratch, $0.baseAddress) }
        }
        self.range = range
    }

    @inline(__always)
    func clip(_ value: Double) -> Double { min(max(value, self.range.low), self.range.high) }

    /// The middle value, or the mean of the two middle ones, of at least one finite value.
    static func median(_ values: UnsafeMutableBufferPointer<Double>) -> Double {
        values.baseAddress.map { kernel_median($0, values.count) } ?? .nan
    }
}
