/// The range a window is clipped to before r: median +- 3 x 1.4826 MAD, so that a few wild values decide nothing.
///
/// Where more than half of the values equal the median the MAD is 0; then 1.2533 x the mean absolute deviation (also the
/// standard deviation of a normal law) stands for it.
struct ClipBounds {
    var low: Double
    var high: Double
    /// Values that differ from the median.
    var informative: Int

    /// - Parameter values: the finite values of the window, at least one; reordered.
    init(_ values: UnsafeMutableBufferPointer<Double>) {
        let centre = Self.median(values)
        var total = 0.0
        var differing = 0
        for index in values.indices {
            let deviation = abs(values[index] - centre)
            values[index] = deviation
            total += deviation
            if deviation > 0 { differing += 1 }
        }
        let deviation = Self.median(values)
        let scale = deviation > 0 ? 1.4826 * deviation : 1.2533 * total / Double(values.count)
        self.low = centre - 3 * scale
        self.high = centre + 3 * scale
        self.informative = differing
    }

    @inline(__always)
    func clip(_ value: Double) -> Double { min(max(value, self.low), self.high) }

    /// The middle value, or the mean of the two middle ones; reorders the values.
    static func median(_ values: UnsafeMutableBufferPointer<Double>) -> Double {
        let middle = values.count / 2
        let upper = Self.select(values, middle)
        guard values.count % 2 == 0 else { return upper }
        // After selection everything before `middle` is at most `upper`.
        var lower = values[0]
        for index in 1..<max(1, middle) where values[index] > lower { lower = values[index] }
        return (lower + upper) / 2
    }

    /// The value of rank `rank` (0-based): quickselect with a branch-free partition, expected O(n).
    private static func select(_ values: UnsafeMutableBufferPointer<Double>, _ rank: Int) -> Double {
        var low = 0
        var high = values.count - 1
        while low < high {
            let pivot = Self.medianOfThree(values[low], values[(low + high) / 2], values[high])
            var smaller = low
            var index = low
            while index <= high {
                let value = values[index]
                values[index] = values[smaller]
                values[smaller] = value
                smaller += value < pivot ? 1 : 0
                index += 1
            }
            if rank < smaller {
                high = smaller - 1
                continue
            }
            var equal = smaller
            index = smaller
            while index <= high {
                let value = values[index]
                values[index] = values[equal]
                values[equal] = value
                equal += value == pivot ? 1 : 0
                index += 1
            }
            if rank < equal { return pivot }
            low = equal
        }
        return values[rank]
    }

    private static func medianOfThree(_ a: Double, _ b: Double, _ c: Double) -> Double {
        max(min(a, b), min(max(a, b), c))
    }
}
