/// Order statistics of samples with gaps, by linear interpolation between order statistics (type 7 of Hyndman and Fan 1996,
/// the definition numpy uses).
package enum SampleQuantile {
    /// - Parameter share: 0 ... 1.
    /// - Parameter sorted: ascending, without NaN.
    /// - Returns: NaN for no samples.
    package static func quantile(_ share: Double, ofSorted sorted: [Double]) -> Double {
        guard let last = sorted.last else { return .nan }
        let position = share * Double(sorted.count - 1)
        let below = Int(position)
        guard below + 1 < sorted.count else { return last }
        return sorted[below] + (sorted[below + 1] - sorted[below]) * (position - Double(below))
    }

    /// The middle of ascending samples, the mean of both middles for an even count; NaN for none.
    package static func median(ofSorted sorted: [Double]) -> Double {
        guard !sorted.isEmpty else { return .nan }
        let middle = sorted.count / 2
        return sorted.count.isMultiple(of: 2) ? (sorted[middle - 1] + sorted[middle]) / 2 : sorted[middle]
    }

    /// The median of what is known, whatever its order; NaN when nothing is.
    package static func median(_ samples: some Sequence<Double>) -> Double {
        self.median(ofSorted: samples.filter { !$0.isNaN }.sorted())
    }
}
