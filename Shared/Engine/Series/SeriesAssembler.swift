import Foundation
import Model

/// Turns raw readings of one node into its regular series by the profile of its domain. Pure: the same set of readings
/// gives the same series in whatever order and batches it came.
///
/// Three steps, so that a cache can keep the first one and redo only touched buckets:
/// ``bucketValues(of:from:count:)`` (NaN where empty) -> ``filled(_:after:)`` (held or zero) -> ``transformed(_:after:)``.
public struct SeriesAssembler: Sendable {
    public let clock: BucketClock
    public let fill: DomainProfile.Fill
    public let transform: DomainProfile.Transform

    public init(clock: BucketClock, fill: DomainProfile.Fill, transform: DomainProfile.Transform) {
        self.clock = clock
        self.fill = fill
        self.transform = transform
    }

    /// The value of one bucket from all its readings in any order; nil when there is none.
    public func bucketValue(of readings: some Sequence<Reading>) -> Double? {
        self.value(ofMerged: Reading.merged(readings)[...])
    }

    /// The values of `count` buckets from bucket `first` on; NaN where a bucket is empty. Readings outside are ignored.
    ///
    /// - Precondition: `count` is 0 or more.
    public func bucketValues(of readings: some Sequence<Reading>, from first: Int64, count: Int) -> [Double] {
        precondition(count >= 0, "a number of buckets")
        var values = [Double](repeating: .nan, count: count)
        let merged = Reading.merged(readings)
        var start = 0
        while start < merged.count {
            let bucket = self.clock.index(ofMilliseconds: merged[start].timeMs)
            var end = start + 1
            while end < merged.count, self.clock.index(ofMilliseconds: merged[end].timeMs) == bucket { end += 1 }
            if bucket >= first, bucket - first < Int64(count), let value = self.value(ofMerged: merged[start..<end]) {
                values[Int(bucket - first)] = value
            }
            start = end
        }
        return values
    }

    private func value(ofMerged readings: ArraySlice<Reading>) -> Double? {
        guard let last = readings.last else { return nil }
        switch self.fill {
        case .last: return last.value
        case .sum: return readings.reduce(0) { $0 + $1.value }
        case .mean: return readings.reduce(0) { $0 + $1.value } / Double(readings.count)
        }
    }

    /// Empty buckets (NaN) get the value before them (`last`, `mean`) or 0 (`sum`); NaN stays before the first known value.
    ///
    /// - Parameter previous: the filled value of the bucket before the first; nil when the node was not known then.
    public func filled(_ values: [Double], after previous: Double?) -> [Double] {
        var held = previous ?? .nan
        return values.map { value in
            if !value.isNaN {
                held = value
            } else if self.fill == .sum, !held.isNaN {
                held = 0
            }
            return held
        }
    }

    /// The domain's transform of filled values; NaN where it is not defined (no value before, a price of 0 or less).
    ///
    /// - Parameter previous: the filled value of the bucket before the first; nil when the node was not known then.
    public func transformed(_ values: [Double], after previous: Double?) -> [Double] {
        guard self.transform != .level else { return values }
        var before = previous ?? .nan
        return values.map { value in
            defer { before = value }
            guard self.transform == .logReturn else { return value - before }
            return value > 0 && before > 0 ? log(value / before) : .nan
        }
    }

    /// Bucket values on a coarser clock, for two domains that meet on it: a fine bucket belongs to the coarse bucket that
    /// holds its last millisecond. NaN where no fine bucket has a value.
    ///
    /// - Parameters:
    ///   - values: unfilled bucket values on this assembler's clock, from bucket `firstFine` on.
    ///   - first: the first coarse bucket wanted, of `count`.
    /// - Precondition: `count` is 0 or more, and the coarse clock is no finer than this one.
    public func coarsened(
        _ values: [Double], firstFine: Int64, to coarse: BucketClock, from first: Int64, count: Int
    ) -> [Double] {
        precondition(count >= 0, "a number of buckets")
        precondition(coarse.bucketMs >= self.clock.bucketMs, "a finer clock asks for what is not known")
        var sums = [Double](repeating: 0, count: count)
        var counts = [Double](repeating: 0, count: count)
        for (offset, value) in values.enumerated() where !value.isNaN {
            let end = self.clock.end(of: firstFine + Int64(offset)).milliseconds - 1
            let bucket = coarse.index(ofMilliseconds: end) - first
            guard bucket >= 0, bucket < Int64(count) else { continue }
            sums[Int(bucket)] = self.fill == .last ? value : sums[Int(bucket)] + value
            counts[Int(bucket)] += 1
        }
        return zip(sums, counts).map { sum, count in
            guard count > 0 else { return .nan }
            return self.fill == .mean ? sum / count : sum
        }
    }
}
