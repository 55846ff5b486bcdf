import Engine
import Model
import Testing

@testable import GraphBuilder

@Suite("Series in memory")
struct SeriesTests {
    static func key(_ index: Int, event: String = "e") -> NodeKey {
        NodeKey(domain: "d", event: event, market: "m\(index)", venue: "v")
    }

    static func one(_ bucket: Int64, _ value: Double) -> BucketAggregator.Bucket {
        BucketAggregator.Bucket(bucket: bucket, value: value, checksum: 1, timeMs: bucket * 10)
    }

    static func bucket(
        _ fill: DomainProfile.Fill, _ ticks: [(Int64, Double)], slot: Int = 0
    ) -> [BucketAggregator.Bucket] {
        var aggregator = BucketAggregator(bucketMs: 10, fill: fill)
        var buckets = ticks.compactMap { aggregator.add(timeMs: $0.0, value: $0.1, node: Self.key(slot).id) }
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
        var moved = BucketWindow(base: 0, capacity: 10, bucketMs: 10)
        moved.appendNode(Self.key(0).id)
        let shard = Shard.all[3]
        for bucket: Int64 in [1, 4, 9] {
            moved.set(slot: 0, Self.one(bucket, Double(bucket)), shard: shard)
        }
        moved.move(to: 6, capacity: 10)
        #expect(moved.held(slot: 0) == 4)
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
        var early = BucketWindow(base: 0, capacity: 20, bucketMs: 10)
        early.appendNode(Self.key(0).id)
        for bucket: Int64 in [2, 7, 8] {
            early.set(slot: 0, Self.one(bucket, Double(bucket)), shard: Shard.all[0])
        }
        var late = early
        late.move(to: 5, capacity: 20)
        for end: Int64 in 9...15 {
            var first: [Double] = []
            var second: [Double] = []
            early.filled(slot: 0, through: end, length: 4, fill: .mean, into: &first)
            late.filled(slot: 0, through: end, length: 4, fill: .mean, into: &second)
            #expect(first == second)
        }
    }

    /// Two nodes of one shard over `capacity` buckets from `base` on, bucket by bucket as the aggregator makes them.
    static func window(base: Int64, capacity: Int, _ ticks: [[(Int64, Double)]]) -> BucketWindow {
        var window = BucketWindow(base: base, capacity: capacity, bucketMs: 10)
        for (slot, ticks) in ticks.enumerated() {
            window.appendNode(Self.key(slot).id)
            Self.fill(&window, slot: slot, ticks)
        }
        return window
    }

    static func fill(_ window: inout BucketWindow, slot: Int, _ ticks: [(Int64, Double)]) {
        for bucket in Self.bucket(.last, ticks, slot: slot) { window.set(slot: slot, bucket, shard: Shard.all[0]) }
    }

    @Test(
        "an altered, added or missing observation changes the digest, also where the bucket's value stays what it was")
    func digestSeesEveryObservation() {
        let ticks: [(Int64, Double)] = [(1, 5), (4, 6), (12, 7)]
        let whole = Self.window(base: 0, capacity: 4, [ticks, ticks]).digest(in: 0..<4)
        let others: [[(Int64, Double)]] = [
            [(1, 5.5), (4, 6), (12, 7)], [(2, 5), (4, 6), (12, 7)], [(4, 6), (12, 7)],
            [(1, 5), (4, 6), (4, 6), (12, 7)],
            [(1, 5), (4, 6), (12, 8)], [(1, 5), (4, 6), (22, 7)], [(1, 5), (4, 6)], [],
        ]
        for other in others {
            #expect(Self.window(base: 0, capacity: 4, [ticks, other]).digest(in: 0..<4) != whole)
        }
        // Whose observations they are counts too.
        #expect(
            Self.window(base: 0, capacity: 4, [ticks, []]).digest(in: 0..<4)
                != Self.window(base: 0, capacity: 4, [[], ticks]).digest(in: 0..<4))
    }

    @Test("a bucket read again leaves no trace of what it was, in digests of nodes and of the whole")
    func replacedBuckets() {
        let ticks: [(Int64, Double)] = [(1, 5), (4, 6), (12, 7), (33, 1)]
        let whole = Self.window(base: 0, capacity: 4, [ticks, ticks])
        var grown = Self.window(base: -2, capacity: 9, [Array(ticks.dropFirst()), [(3, 9), (31, 2)]])
        Self.fill(&grown, slot: 1, ticks)
        Self.fill(&grown, slot: 0, ticks)
        #expect(grown.digest(in: 0..<4) == whole.digest(in: 0..<4))
        for slot in 0..<2 {
            #expect(grown.digest(slot: slot, in: 0..<4) == whole.digest(slot: slot, in: 0..<4))
            #expect(grown.digest(slot: slot, in: 0..<4) != .zero)
        }
        // Moved and shortened: the same, for the same buckets.
        grown.move(to: 1, capacity: 3)
        #expect(grown.digest(in: 1..<4) == whole.digest(in: 1..<4))
        #expect(grown.digest(in: 0..<4) == whole.digest(in: 1..<4))
    }

    @Test("regular readings need no checksums of their own, and the digest does not tell whether there are any")
    func regularRows() {
        let regular: [(Int64, Double)] = (0..<100).map { ($0 * 10 + 3, Double($0)) }
        var plain = Self.window(base: 0, capacity: 100, [regular])
        // Once irregular, then as the other again.
        var kept = Self.window(base: 0, capacity: 100, [[(42, 9)] + regular.dropFirst(5)])
        Self.fill(&kept, slot: 0, [(501, 3), (502, 4)])
        #expect(kept.digest(in: 0..<100) != plain.digest(in: 0..<100))
        Self.fill(&kept, slot: 0, Array(regular[45...55]))
        Self.fill(&kept, slot: 0, Array(regular[0...5]))
        #expect(kept.digest(in: 0..<100) == plain.digest(in: 0..<100))
        #expect(plain.byteCount + 100 * 4 == kept.byteCount)
        let part = Self.window(base: 20, capacity: 50, [Array(regular[20..<70])]).digest(in: 20..<70)
        for window in [plain, kept] { #expect(window.digest(slot: 0, in: 20..<70) == part) }
        // They go when the window moves on, and nothing else changes.
        kept.move(to: 10, capacity: 100)
        plain.move(to: 10, capacity: 100)
        #expect(kept.byteCount == plain.byteCount)
        #expect(kept.digest(in: 10..<100) == plain.digest(in: 10..<100))
        // One that is irregular in what stays keeps them.
        Self.fill(&kept, slot: 0, [(501, 3), (502, 4)])
        kept.move(to: 20, capacity: 100)
        #expect(kept.byteCount == plain.byteCount + 400)
    }

    @Test("a window that is made shorter forgets what it read beyond its end, and nothing else")
    func shortened() {
        var window = Self.window(base: 0, capacity: 40, [[(15, 1), (95, 2), (205, 3), (395, 4)]])
        window.loadedEnd = 40
        window.move(to: 5, capacity: 20)
        #expect(window.base == 5 && window.end == 25 && window.loadedEnd == 25 && window.held(slot: 0) == 1)
        #expect(window.aggregate(slot: 0, bucket: 9) == 2 && window.aggregate(slot: 0, bucket: 20) == 3)
        #expect(window.firstOccupied(from: 21, mask: Shard.all[0].bit) == nil)
        window.move(to: 5, capacity: 40)
        #expect(window.loadedEnd == 25 && window.aggregate(slot: 0, bucket: 39).isNaN)
    }

    /// Adds nodes with readings in buckets 0 ... 900.
    static func register(_ count: Int, domain: String, in cache: inout SeriesCache) {
        _ = cache.declare(DomainProfile(domain: domain, bucketMs: 60_000))
        for index in 0..<count {
            let key = NodeKey(domain: domain, event: "e", market: "m\(index)", venue: "v")
            cache.register(SeriesReader.NodeRow(key: key, id: key.id, firstMs: 0, lastMs: 60_000 * 900))
        }
        cache.update(domain) { $0.newestMs = 60_000 * 900 }
    }

    @Test("a window that would leave buckets behind unread is made anew, with what each node comes into it with")
    func gap() throws {
        var cache = SeriesCache()
        Self.register(10, domain: "a", in: &cache)
        let first = try #require(cache.plan("a", start: 899))
        cache.begin(first, held: [])
        cache.finish(first)
        // As after an old bucket was evaluated again: everything up to the newest has been evaluated, and was not read here.
        cache.update("a") { $0.newestMs = 60_000 * 20_000 }
        let jump = try #require(cache.plan("a", start: 20_001))
        #expect(jump.rebuilds && jump.heldBefore.count == 10)
        // What follows on what was read is only read.
        cache.update("a") { $0.newestMs = 60_000 * 5_000 }
        let step = try #require(cache.plan("a", start: 901))
        #expect(!step.rebuilds && step.heldBefore.isEmpty)
    }

    @Test(
        "windows of ten thousand nodes stay under 12 kilobytes a node; one made for few nodes is made anew or shorter")
    func budget() throws {
        var cache = SeriesCache()
        Self.register(10, domain: "a", in: &cache)
        Self.register(10, domain: "b", in: &cache)
        for domain in ["a", "b"] {
            let plan = try #require(cache.plan(domain, start: 899))
            cache.begin(plan, held: [])
            cache.finish(plan)
            #expect(plan.rebuilds && plan.spans.count == 10 && cache.plan(domain, start: 899) == nil)
        }
        let before = try #require(cache.domains["b"]?.window?.capacity)
        Self.register(10_000, domain: "a", in: &cache)
        // The nodes came to a domain whose window would have been too much for them.
        #expect(cache.domains["a"]?.window == nil)
        let many = try #require(cache.plan("a", start: 899))
        #expect(many.rebuilds && many.spans.count == 10_000)
        cache.begin(many, held: [])
        cache.finish(many)
        #expect(cache.domains["a"]?.window?.capacity == many.capacity)
        // The other has all it needs; only its length changes.
        let shorter = try #require(cache.plan("b", start: 899))
        #expect(!shorter.rebuilds && shorter.spans.isEmpty && shorter.capacity < before)
        cache.begin(shorter, held: [])
        cache.finish(shorter)
        #expect(cache.plan("a", start: 899) == nil && cache.plan("b", start: 899) == nil)
        // Were all of them irregular, at 12 bytes a bucket.
        #expect(many.capacity * 12 < 11_500)
        #expect(cache.byteCount < 10_010 * 8_000)
        #expect(cache.byteCount > 10_010 * 840 * MemoryLayout<Double>.stride)
    }

    @Test("what one statement asks for is bounded in buckets and in nodes, and nothing is left out")
    func slices() {
        func spans(_ count: Int, buckets: Int64) -> [SeriesReader.Span] {
            (0..<count).map { index in
                SeriesReader.Span(
                    shard: Shard.all[0], node: NodeID(rawValue: Int64(index)), fromMs: 0, toMs: buckets * 10)
            }
        }
        for (count, buckets) in [(0, Int64(5)), (1, 1_000_000), (3, 1_000_000), (200, 1_000), (10_000, 1), (4_096, 16)]
        {
            let all = spans(count, buckets: buckets)
            let slices = SeriesReader.slices(all, bucketMs: 10)
            #expect(slices.flatMap { $0 } == all)
            #expect(
                slices.allSatisfy {
                    !$0.isEmpty && $0.count <= SeriesReader.spansPerSlice
                        && ($0.count == 1 || Int64($0.count) * buckets <= SeriesReader.bucketsPerSlice)
                })
            #expect(slices.count <= count * Int(buckets) / Int(SeriesReader.bucketsPerSlice) * 2 + 3)
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
        var window = BucketWindow(base: -100, capacity: 200, bucketMs: 10)
        window.appendNode(first.id)
        window.appendNode(second.id)
        window.loadedEnd = 10
        for bucket: Int64 in [0, 3, 6, 9] {
            window.set(slot: 0, Self.one(bucket, 1), shard: Shard(event: "a"))
        }
        for bucket: Int64 in [5, 6] {
            window.set(slot: 1, Self.one(bucket, 1), shard: Shard(event: "b"))
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
