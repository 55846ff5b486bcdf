import Engine
import Model
import Testing

@testable import GraphBuilder

@Suite("Series in memory")
struct SeriesTests {
    static func key(_ index: Int, event: String = "e") -> NodeKey {
        NodeKey(domain: "d", event: event, market: "m\(index)", venue: "v")
    }

    static func bucket(_ fill: DomainProfile.Fill, _ ticks: [(Int64, Double)]) -> [BucketAggregator.Bucket] {
        var aggregator = BucketAggregator(bucketMs: 10, fill: fill)
        var buckets = ticks.compactMap { aggregator.add(timeMs: $0.0, value: $0.1, node: Self.key(0).id) }
        if let last = aggregator.finish() { buckets.append(last) }
        return buckets
    }

    @Test("a bucket is its newest value, its mean or its sum; one millisecond's values count as their mean")
    func aggregates() {
        let ticks: [(Int64, Double)] = [(-3, 5), (0, 1), (4, 2), (4, 4), (12, 9)]
        #expect(Self.bucket(.last, ticks).map(\.value) == [5, 3, 9])
        #expect(Self.bucket(.mean, ticks).map(\.value) == [5, 2, 9])
        #expect(Self.bucket(.sum, ticks).map(\.value) == [5, 4, 9])
        #expect(Self.bucket(.last, ticks).map(\.bucket) == [-1, 0, 1])
    }

    @Test("the aggregator agrees with the engine's own assembler", arguments: [DomainProfile.Fill.last, .mean, .sum])
    func agreesWithEngine(fill: DomainProfile.Fill) {
        var random = SystemRandomNumberGenerator()
        let ticks = (0..<300).map { _ in
            (Int64.random(in: -500..<500, using: &random), Double.random(in: -9...9, using: &random))
        }.sorted { $0 < $1 }
        let assembler = SeriesAssembler(clock: BucketClock(bucketMs: 10), fill: fill, transform: .level)
        let expected = assembler.bucketValues(
            of: ticks.map { Reading(timeMs: $0.0, value: $0.1) }, from: -50, count: 100)
        for bucket in Self.bucket(fill, ticks) {
            #expect(abs(expected[Int(bucket.bucket + 50)] - bucket.value) < 1e-9)
        }
    }

    @Test("a window that moves on holds what fell out, and a moved window equals one made there")
    func advancing() {
        var moved = BucketWindow(base: 0, capacity: 10)
        moved.appendNode()
        let shard = Shard.all[3]
        for bucket: Int64 in [1, 4, 9] {
            moved.set(slot: 0, bucket: bucket, aggregate: Double(bucket), digest: .zero, shard: shard)
        }
        moved.advance(to: 6)
        #expect(moved.held == [4])
        var row: [Double] = []
        moved.filled(slot: 0, through: 10, length: 5, fill: .last, into: &row)
        #expect(row == [4, 4, 4, 9, 9])
        row = []
        moved.filled(slot: 0, through: 10, length: 5, fill: .sum, into: &row)
        #expect(row == [0, 0, 0, 9, 0])
        #expect(moved.firstOccupied(from: 0, mask: shard.bit) == 9)
        #expect(moved.firstOccupied(from: 0, mask: Shard.all[4].bit) == nil)
    }

    @Test("filled rows are the same wherever the window begins")
    func fillIgnoresBase() {
        var early = BucketWindow(base: 0, capacity: 20)
        early.appendNode()
        for bucket: Int64 in [2, 7, 8] {
            early.set(slot: 0, bucket: bucket, aggregate: Double(bucket), digest: .zero, shard: Shard.all[0])
        }
        var late = early
        late.advance(to: 5)
        for end: Int64 in 9...15 {
            var first: [Double] = []
            var second: [Double] = []
            early.filled(slot: 0, through: end, length: 4, fill: .mean, into: &first)
            late.filled(slot: 0, through: end, length: 4, fill: .mean, into: &second)
            #expect(first == second)
        }
    }

    @Test("the derived width depends on the times up to the settling moment alone")
    func derivedWidth() {
        let regular = (0..<40).map { Int64($0) * 60_000 }
        let slower = (0..<40).map { Int64($0) * 90_000 }
        #expect(ClockRule.width(times: [regular, slower]) == 100_000)
        #expect(ClockRule.width(times: [Array(regular.prefix(30))]) == nil)
        // More data of another rhythm after the moment change nothing.
        #expect(
            ClockRule.width(times: [regular + (0..<100).map { 2_400_000 + $0 }]) == ClockRule.width(times: [regular]))
    }

    @Test("pending work is found per shard: evaluated ones are passed over, new ones start at their first data")
    func pending() {
        var domain = DomainSeries(name: "d", profile: DomainProfile(domain: "d", bucketMs: 10))
        let (first, second) = (Self.key(0, event: "a"), Self.key(1, event: "b"))
        domain.register(first, id: first.id, firstMs: 0, lastMs: 95)
        domain.register(second, id: second.id, firstMs: 50, lastMs: 95)
        domain.newestMs = 95
        var window = BucketWindow(base: -100, capacity: 200)
        window.appendNode()
        window.appendNode()
        window.loadedEnd = 10
        for bucket: Int64 in [0, 3, 6, 9] {
            window.set(slot: 0, bucket: bucket, aggregate: 1, digest: .zero, shard: Shard(event: "a"))
        }
        for bucket: Int64 in [5, 6] {
            window.set(slot: 1, bucket: bucket, aggregate: 1, digest: .zero, shard: Shard(event: "b"))
        }
        domain.window = window
        let owned: Set = [Shard(event: "a"), Shard(event: "b")]
        #expect(domain.nextPending(owned: owned) == 0)
        domain.evaluated[Shard(event: "a")] = 6
        #expect(domain.nextPending(owned: owned) == 5)
        #expect(domain.dueShards(at: 6, owned: owned) == [Shard(event: "b")])
        #expect(domain.events(at: 6, shards: owned) == ["a", "b"])
        domain.evaluated[Shard(event: "b")] = 6
        #expect(domain.nextPending(owned: owned) == 9)
        #expect(domain.nextPending(owned: [Shard(event: "b")]) == nil)
    }
}
