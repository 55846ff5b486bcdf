/// How the width of a domain's buckets follows from its data when none is declared: the median over nodes of the median
/// gap between a node's times, rounded up to 1-2-5 x 10^k milliseconds.
///
/// Only times up to the moment at which the first node has ``settlingTimes`` of them count, and at most ``timesPerNode`` a
/// node. So the width is a function of the data alone: it does not matter how much more is known when it is derived.
enum ClockRule {
    /// Distinct times of one node that settle the clock; the shortest present window has as many buckets.
    static let settlingTimes = 30
    static let timesPerNode = 200

    /// - Parameter times: per node, its distinct times from the first on, ascending, epoch milliseconds, at most
    ///   ``timesPerNode``.
    /// - Returns: nil while no node has more than ``settlingTimes`` times.
    static func width(times: [[Int64]]) -> Int64? {
        // One time more than needed must be there, so that the settling moment itself is past.
        guard let settled = times.filter({ $0.count > Self.settlingTimes }).map({ $0[Self.settlingTimes - 1] }).min()
        else { return nil }
        var medians: [Double] = []
        for node in times {
            let known = node.prefix { $0 <= settled }
            guard known.count >= 2 else { continue }
            medians.append(Self.median(zip(known.dropFirst(), known).map { Double($0 - $1) }))
        }
        return Self.roundedUp(Self.median(medians))
    }

    static func median(_ values: [Double]) -> Double {
        let sorted = values.sorted()
        guard !sorted.isEmpty else { return 0 }
        let middle = sorted.count / 2
        return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
    }

    /// The least of 1, 2, 5, 10, 20, 50 ... that is not below `gap`; a day at most, as for declared widths.
    static func roundedUp(_ gap: Double) -> Int64 {
        var power: Int64 = 1
        while power < 100_000_000 {
            for digit: Int64 in [1, 2, 5] where Double(digit * power) >= gap { return min(86_400_000, digit * power) }
            power *= 10
        }
        return 86_400_000
    }
}
