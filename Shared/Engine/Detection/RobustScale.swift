/// Location and scale that a few wild values do not move.
public enum RobustScale {
    /// Makes the median absolute deviation of normal data its standard deviation.
    public static let madToSd = 1.4826

    /// The middle of finite values (the mean of the two middle ones); nil for none.
    public static func median(_ values: [Double]) -> Double? {
        guard !values.isEmpty else { return nil }
        return Self.median(ofSorted: values.sorted())
    }

    static func median(ofSorted sorted: [Double]) -> Double {
        let half = sorted.count / 2
        return sorted.count % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2
    }

    /// Median and 1.4826 x the median absolute deviation from it; nil for no values.
    public static func medianAndScale(_ values: [Double]) -> (median: Double, scale: Double)? {
        guard let middle = Self.median(values) else { return nil }
        let deviations = values.map { abs($0 - middle) }.sorted()
        return (middle, Self.madToSd * Self.median(ofSorted: deviations))
    }

    /// The q-quantile of ascending values, linear between order statistics, q in 0 ... 1.
    public static func quantile(ofSorted sorted: [Double], _ q: Double) -> Double {
        precondition(!sorted.isEmpty, "nothing has no quantiles")
        let position = min(1, max(0, q)) * Double(sorted.count - 1)
        let low = Int(position)
        let high = min(low + 1, sorted.count - 1)
        return sorted[low] + (sorted[high] - sorted[low]) * (position - Double(low))
    }

    /// Standard deviation about zero of values clipped to three of it, settled in three rounds: O(n).
    ///
    /// The median deviation would be 0 for a price that rests in most buckets, and the plain sd is moved by the very jumps
    /// that are to be found. For normal data it is 0.98 of the sd.
    public static func noise(ofChanges changes: [Double]) -> Double {
        guard changes.count > 1 else { return 0 }
        var bound = Double.infinity
        var noise = 0.0
        for _ in 0...3 {
            var squares = 0.0
            changes.withUnsafeBufferPointer { changes in
                for change in changes {
                    let size = abs(change)
                    let clipped = size < bound ? size : bound
                    squares += clipped * clipped
                }
            }
            noise = (squares / Double(changes.count)).squareRoot()
            bound = 3 * noise
        }
        return noise
    }
}
