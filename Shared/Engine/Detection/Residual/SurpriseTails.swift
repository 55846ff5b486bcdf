import Foundation

/// How surprising values are against past ones: -ln of the share of past values at least as large, for several statistics.
///
/// Past values are counted in 64 bins of equal width in the logarithm, so a statistic costs 512 bytes however long its memory.
/// Up to the 98 % quantile u the share is read from the counts, linear within a bin; beyond it the tail is exponential with the
/// mean excess b (extreme value theory with shape 0): -ln 0.02 + (value - u) / b. What is taken in counts from the next
/// ``refresh(memory:)`` on, so that the first hours of a fault do not explain its later ones.
struct SurpriseTails: Sendable, Hashable, Codable {
    static let bins = 64
    /// Values below the first count as it; those above the second too.
    static let lowest = 1e-3
    static let highest = 500.0
    static let quantile = 0.98
    private static let rate = Double(Self.bins - 1) / log(Self.highest / Self.lowest)
    /// Bin i holds edges[i] ..< edges[i + 1].
    private static let edges = [0] + (0..<Self.bins).map { Self.lowest * exp(Double($0) / Self.rate) }

    let count: Int
    /// count x bins: what is judged by, and what was taken in since.
    private var learnt: PackedFloats
    private var pending: PackedFloats
    /// Of each statistic: u, b, and how much was learnt.
    private var cuts: PackedDoubles
    private var excesses: PackedDoubles
    private var masses: PackedDoubles

    init(count: Int) {
        self.count = count
        self.learnt = PackedFloats([Float](repeating: 0, count: count * Self.bins))
        self.pending = self.learnt
        self.cuts = PackedDoubles([Double](repeating: 0, count: count))
        self.excesses = PackedDoubles([Double](repeating: 1, count: count))
        self.masses = self.cuts
    }

    func validate() throws(DetectorStateError) {
        let bins = self.count.multipliedReportingOverflow(by: Self.bins)
        try DetectorStateError.require(
            !bins.overflow && [self.learnt, self.pending].allSatisfy { $0.values.count == bins.partialValue }
                && [self.cuts, self.excesses, self.masses].allSatisfy { $0.values.count == self.count }, "tails",
            "counts of each statistic")
    }

    func mass(_ statistic: Int) -> Double { self.masses.values[statistic] }

    /// The 98 % quantile of what was learnt; 0 before.
    func cut(_ statistic: Int) -> Double { self.cuts.values[statistic] }

    mutating func add(_ value: Double, to statistic: Int, weight: Double) {
        self.pending.values[statistic * Self.bins + Self.bin(value)] += Float(weight)
    }

    /// 0 or more; not capped. Only where ``mass(_:)`` is above 0.
    func surprise(_ value: Double, of statistic: Int) -> Double {
        let cut = self.cuts.values[statistic]
        if value > cut { return -log(1 - Self.quantile) + (value - cut) / self.excesses.values[statistic] }
        let bin = Self.bin(value)
        var beyond = 0.0
        self.learnt.values.withUnsafeBufferPointer { counts in
            for index in stride(from: Self.bins - 1, to: bin, by: -1) {
                beyond += Double(counts[statistic * Self.bins + index])
            }
        }
        let within = beyond + Double(self.learnt.values[statistic * Self.bins + bin])
        let place = (value - Self.edges[bin]) / (Self.edges[bin + 1] - Self.edges[bin])
        let share = (within + (beyond - within) * min(1, max(0, place))) / self.masses.values[statistic]
        return max(0, -log(max(share, 1 - Self.quantile)))
    }

    /// Lets what was taken in count, forgetting in proportion what exceeds `memory` values.
    mutating func refresh(memory: Double) {
        for statistic in 0..<self.count {
            let range = statistic * Self.bins..<(statistic + 1) * Self.bins
            let total = range.reduce(0.0) {
                $0 + Double(self.learnt.values[$1]) + Double(self.pending.values[$1])
            }
            let kept = total > memory ? memory / total : 1
            for index in range {
                let sum = Double(self.learnt.values[index]) + Double(self.pending.values[index])
                self.learnt.values[index] = Float(sum * kept)
                self.pending.values[index] = 0
            }
            self.settle(statistic)
        }
    }

    /// Begins anew with one statistic.
    mutating func forget(_ statistic: Int) {
        for index in statistic * Self.bins..<(statistic + 1) * Self.bins {
            self.learnt.values[index] = 0
            self.pending.values[index] = 0
        }
        self.cuts.values[statistic] = 0
        self.masses.values[statistic] = 0
    }

    /// Finds u and b.
    private mutating func settle(_ statistic: Int) {
        let counts = self.learnt.values[statistic * Self.bins..<(statistic + 1) * Self.bins].map(Double.init)
        let mass = counts.reduce(0, +)
        self.masses.values[statistic] = mass
        guard mass > 0 else { return }
        let wanted = (1 - Self.quantile) * mass
        var bin = Self.bins - 1
        var beyond = 0.0
        while bin > 0, beyond + counts[bin] <= wanted {
            beyond += counts[bin]
            bin -= 1
        }
        let (low, high) = (Self.edges[bin], Self.edges[bin + 1])
        let below = min(1, max(0, (beyond + counts[bin] - wanted) / max(counts[bin], 1e-12 * mass)))
        let cut = low + below * (high - low)
        let own = counts[bin] * (1 - below)
        var excess = own * (high - cut) / 2
        var number = own
        for index in bin + 1..<max(Self.bins, bin + 1) {
            excess += counts[index] * ((Self.edges[index] + Self.edges[index + 1]) / 2 - cut)
            number += counts[index]
        }
        self.cuts.values[statistic] = cut
        self.excesses.values[statistic] = max(excess / max(number, 1e-9), 0.05 * cut, Self.lowest)
    }

    private static func bin(_ value: Double) -> Int {
        guard value >= Self.lowest else { return 0 }
        return min(Self.bins - 1, 1 + Int(log(min(value, Self.highest) / Self.lowest) * Self.rate))
    }
}
