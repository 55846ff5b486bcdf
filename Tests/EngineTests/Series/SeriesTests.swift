import Engine
import Foundation
import Model
import Testing

@Suite("Series")
struct SeriesTests {
    @Test(
        "widths are rounded up to 1-2-5",
        arguments: [(0.3, 1), (1, 1), (1.1, 2), (3, 5), (5, 5), (6, 10), (999, 1000), (1001, 2000), (9e9, 86_400_000)]
            as [(Double, Int64)])
    func roundsUp(gap: Double, width: Int64) {
        #expect(BucketClock.derivedBucketMs(medianGapsMs: [gap, gap, gap]) == width)
    }

    @Test("the median gap ignores order and repeats")
    func medianGap() {
        #expect(BucketClock.medianGapMs(ofTimes: [30, 0, 10, 10, 40, 0]) == 10)
        #expect(BucketClock.medianGapMs(ofTimes: [5, 5]) == nil)
        #expect(BucketClock.derivedBucketMs(medianGapsMs: []) == nil)
    }

    @Test("buckets before 1970 are floored, not cut")
    func floorsNegativeTimes() {
        let clock = BucketClock(bucketMs: 10)
        #expect(clock.index(ofMilliseconds: -1) == -1)
        #expect(clock.index(ofMilliseconds: -10) == -1)
        #expect(clock.index(ofMilliseconds: -11) == -2)
        #expect(clock.start(of: -2) == Timestamp(milliseconds: -20))
        #expect(clock.end(of: -2) == Timestamp(milliseconds: -10))
    }

    static let readings = [
        Reading(timeMs: 3, value: 4), Reading(timeMs: 3, value: 8), Reading(timeMs: 3, value: 4),
        Reading(timeMs: 7, value: 1), Reading(timeMs: 25, value: 2), Reading(timeMs: 21, value: 6),
    ]

    @Test("a bucket is its last value, its mean or its sum, with one millisecond averaged first")
    func aggregates() {
        let expected: [(DomainProfile.Fill, [Double])] = [(.last, [1, 2]), (.mean, [3.5, 4]), (.sum, [7, 8])]
        for (fill, values) in expected {
            let assembler = SeriesAssembler(clock: BucketClock(bucketMs: 10), fill: fill, transform: .level)
            let buckets = assembler.bucketValues(of: Self.readings, from: 0, count: 3)
            #expect(buckets[0] == values[0])
            #expect(buckets[1].isNaN)
            #expect(buckets[2] == values[1])
        }
    }

    @Test(
        "a series does not depend on the order or the batches its readings came in",
        arguments: 1...20 as ClosedRange<UInt64>)
    func ignoresOrder(seed: UInt64) {
        var random = RandomStream(seed: seed)
        let readings = (0..<200).map { _ in
            Reading(timeMs: Int64(random.below(300)), value: random.uniform() * 1e6)
        }
        for fill in [DomainProfile.Fill.last, .mean, .sum] {
            let assembler = SeriesAssembler(clock: BucketClock(bucketMs: 7), fill: fill, transform: .level)
            let one = assembler.bucketValues(of: readings, from: 0, count: 40)
            let other = assembler.bucketValues(of: readings.shuffled(using: &random) + readings, from: 0, count: 40)
            #expect(one.map(\.bitPattern) == other.map(\.bitPattern))
        }
    }

    @Test("empty buckets hold the value before, or 0 for sums, and nothing before the first")
    func fills() {
        let gaps: [Double] = [.nan, 2, .nan, 3]
        let held = SeriesAssembler(clock: BucketClock(bucketMs: 1), fill: .last, transform: .level)
        #expect(held.filled(gaps, after: nil).dropFirst().elementsEqual([2, 2, 3]))
        #expect(held.filled(gaps, after: nil)[0].isNaN)
        #expect(held.filled(gaps, after: 9) == [9, 2, 2, 3])
        let summed = SeriesAssembler(clock: BucketClock(bucketMs: 1), fill: .sum, transform: .level)
        #expect(summed.filled(gaps, after: 9) == [0, 2, 0, 3])
        #expect(summed.filled(gaps, after: nil)[0].isNaN)
    }

    @Test("transforms: differences, logarithmic returns, no return of a price of 0 or less")
    func transforms() {
        let clock = BucketClock(bucketMs: 1)
        let difference = SeriesAssembler(clock: clock, fill: .last, transform: .difference)
        #expect(difference.transformed([3, 5, 4], after: 1) == [2, 2, -1])
        #expect(difference.transformed([3, 5], after: nil)[0].isNaN)
        let returns = SeriesAssembler(clock: clock, fill: .last, transform: .logReturn).transformed(
            [1, 2, 0, 4], after: 1)
        #expect(returns[0] == 0 && returns[1] == log(2))
        #expect(returns[2].isNaN && returns[3].isNaN)
    }

    @Test("two clocks that do not divide meet by the last millisecond of the fine bucket")
    func coarsens() {
        let fine = SeriesAssembler(clock: BucketClock(bucketMs: 2), fill: .sum, transform: .level)
        // Fine buckets end at 2, 4, 6, 8, 10: the one over 4 and 5 belongs to the second coarse bucket.
        #expect(
            fine.coarsened([1, 2, 4, 8, 16], firstFine: 0, to: BucketClock(bucketMs: 5), from: 0, count: 2) == [3, 28])
    }

    @Test("a digest ignores order, is undone by removal, and tells nodes, times and values apart")
    func digests() {
        let parts = (0..<50).map { Digest128(node: NodeID(rawValue: $0 % 5), timeMs: $0 * 7, value: Double($0) / 3) }
        var forward = Digest128.zero
        var backward = Digest128.zero
        for part in parts { forward.add(part) }
        for part in parts.reversed() { backward.add(part) }
        #expect(forward == backward)
        #expect(Set(parts).count == 50)
        for part in parts.dropFirst() { forward.remove(part) }
        #expect(forward == parts[0])
        #expect(parts[0].hex.count == 32)
        let node = NodeID(rawValue: 1)
        #expect(Digest128(node: node, timeMs: 2, value: 0) == Digest128(node: node, timeMs: 2, value: -0.0))
        #expect(Digest128(node: node, timeMs: 2, value: 3) != Digest128(node: NodeID(rawValue: 2), timeMs: 1, value: 3))
    }
}
