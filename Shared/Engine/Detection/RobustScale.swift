/// Location and scale that a few wild values do not move.
public enum RobustScale {
    /// Makes the median absolute deviation of normal data its standard deviation.
    public static let madToSd = 1.4826

    /// The middle of values (the mean of the two middle ones); nil for none. O(n).
    ///
    /// - Precondition: all are numbers; others have no order, and what comes out then means nothing.
    public static func median(_ values: [Double]) -> Double? {
        guard !values.isEmpty else { return nil }
        var values = values
        let half = values.count / 2
        return values.withUnsafeMutableBufferPointer { values in
            let upper = Self.select(half, in: values)
            guard values.count % 2 == 0 else { return upper }
            // Everything before the selected place is no larger.
            var lower = values[0]
            for index in 1..<max(1, half) where values[index] > lower { lower = values[index] }
            return (lower + upper) / 2
        }
    }

    /// The middle of values, the larger of two; nil for none. O(n).
    ///
    /// - Precondition: all are numbers, see ``median(_:)``.
    public static func upperMedian(_ values: [Double]) -> Double? {
        guard !values.isEmpty else { return nil }
        var values = values
        return values.withUnsafeMutableBufferPointer { Self.select($0.count / 2, in: $0) }
    }

    /// The value that would stand at `place` after sorting; leaves smaller ones before it (Hoare's selection).
    private static func select(_ place: Int, in values: UnsafeMutableBufferPointer<Double>) -> Double {
        var low = 0
        var high = values.count - 1
        while low < high {
            let pivot = values[(low + high) / 2]
            var left = low
            var right = high
            while left <= right {
                while values[left] < pivot { left += 1 }
                while values[right] > pivot { right -= 1 }
                guard left <= right else { break }
                values.swapAt(left, right)
                left += 1
                right -= 1
            }
            if place <= right {
                high = right
            } else if place >= left {
                low = left
            } else {
                break
            }
        }
        return values[place]
    }

    /// Median and 1.4826 x the median absolute deviation from it; nil for no values. O(n).
    public static func medianAndScale(_ values: [Double]) -> (median: Double, scale: Double)? {
        guard let middle = Self.median(values), let deviation = Self.median(values.map { abs($0 - middle) }) else {
            return nil
        }
        return (middle, Self.madToSd * deviation)
    }

    /// The q-quantile of ascending values, linear between order statistics; q is held within 0 ... 1.
    ///
    /// - Precondition: there are values, and q is a number.
    public static func quantile(ofSorted sorted: [Double], _ q: Double) -> Double {
        precondition(!sorted.isEmpty, "nothing has no quantiles")
        precondition(!q.isNaN, "a quantile is at a place")
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
