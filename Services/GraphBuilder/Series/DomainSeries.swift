import Engine
import Model

/// One domain as this replica sees it: its nodes, its clock and the buckets in memory. A value without I/O.
struct DomainSeries: Sendable {
    struct Node: Sendable {
        let key: NodeKey
        let id: NodeID
        let shard: Shard
        /// Oldest and newest observation known, epoch milliseconds.
        var firstMs: Int64
        var lastMs: Int64
    }

    /// The regular clock observations are put on.
    struct Clock: Hashable, Sendable {
        var bucketMs: Int64
        var latenessMs: Int64

        func bucket(of timeMs: Int64) -> Int64 { floorDivide(timeMs, self.bucketMs) }
        func end(of bucket: Int64) -> Timestamp { Timestamp(milliseconds: (bucket + 1) * self.bucketMs) }
    }

    let name: String
    let profile: DomainProfile
    /// nil until the width is declared or can be derived, see ``ClockRule``.
    private(set) var clock: Clock?
    private(set) var nodes: [Node] = []
    private(set) var slots: [NodeID: Int] = [:]
    /// Slots in ascending order of their keys.
    private(set) var order: [Int] = []
    var window: BucketWindow?
    /// Newest observation in the part of the log that was read, epoch milliseconds.
    var newestMs: Int64?
    /// The last bucket each worked-for shard has evaluated; a shard that is missing has evaluated none.
    var evaluated: [Shard: Int64] = [:]
    /// Whether `evaluated` has been taken from what is stored.
    var isPlaced = false
    /// Goes up whenever data come for a bucket that was closed already: what was computed before is to be computed again.
    private(set) var lateVersion = 0
    /// The newest closed bucket for which each event got such data.
    var lateEvents: [String: Int64] = [:]
    /// Raw observations of nodes that share event and market with another: what Hayashi-Yoshida reads. By slot.
    var ticks: [Int: TickBuffer] = [:]

    /// Nodes by event and market.
    private var groups: [Group: Int] = [:]

    private struct Group: Hashable, Sendable {
        var event: String
        var market: String
    }

    init(name: String, profile: DomainProfile) {
        self.name = name
        self.profile = profile
        if let width = profile.bucketMs { self.setWidth(width) }
    }

    mutating func setWidth(_ bucketMs: Int64) {
        self.clock = Clock(bucketMs: bucketMs, latenessMs: self.profile.allowedLatenessMs ?? bucketMs)
    }

    /// Buckets an evaluation looks at: the window, one more for differences, and those by which a tick estimate ends earlier.
    var neededBuckets: Int { WindowShape(profile: self.profile).requiredLength + 1 + Int(self.tickInterval) }
    /// Tick estimates are made at window ends this many buckets apart, a quarter of the present window, and stand between.
    var tickInterval: Int64 { max(1, Int64(self.profile.presentBuckets / 4)) }

    /// Registers a node, or widens what is known of its span. Returns its slot.
    @discardableResult
    mutating func register(_ key: NodeKey, id: NodeID, firstMs: Int64, lastMs: Int64) -> Int {
        if let slot = self.slots[id] {
            self.nodes[slot].firstMs = min(self.nodes[slot].firstMs, firstMs)
            self.nodes[slot].lastMs = max(self.nodes[slot].lastMs, lastMs)
            return slot
        }
        let slot = self.nodes.count
        self.nodes.append(
            Node(key: key, id: id, shard: Shard(event: key.event), firstMs: firstMs, lastMs: lastMs))
        self.slots[id] = slot
        let place = self.order.partitionIndex { !(self.nodes[$0].key < key) }
        self.order.insert(slot, at: place)
        self.window?.appendNode(id)
        let group = Group(event: key.event, market: key.market)
        self.groups[group, default: 0] += 1
        // The first of two siblings has been read without keeping its raw readings: read anew.
        if self.groups[group] == 2 { self.dropWindow() }
        return slot
    }

    /// Takes note of a span that was stored.
    /// - Parameter open: the first bucket that was not closed before the log was read on; nil: none was.
    mutating func touch(_ node: NodeID, firstMs: Int64, lastMs: Int64, open: Int64?) {
        if let slot = self.slots[node] {
            let key = self.nodes[slot].key
            if let clock, let open, clock.bucket(of: firstMs) < open {
                self.lateVersion += 1
                self.lateEvents[key.event] = max(
                    self.lateEvents[key.event] ?? .min, min(clock.bucket(of: lastMs), open - 1))
            }
            self.register(key, id: node, firstMs: firstMs, lastMs: lastMs)
        }
        self.newestMs = max(self.newestMs ?? .min, lastMs)
    }

    /// Starts with what another profile had: its nodes, and how far its data go.
    mutating func takeOver(from old: DomainSeries) {
        for node in old.nodes { self.register(node.key, id: node.id, firstMs: node.firstMs, lastMs: node.lastMs) }
        self.newestMs = old.newestMs
        self.lateVersion = old.lateVersion + 1
    }

    /// Whether another node has the same event and market, so that the pair is direct.
    func hasSibling(_ slot: Int) -> Bool {
        let key = self.nodes[slot].key
        return (self.groups[Group(event: key.event, market: key.market)] ?? 0) > 1
    }

    /// Forgets what was read; the next plan reads it again.
    mutating func dropWindow() {
        self.window = nil
        self.ticks = [:]
    }

    /// The domain as the schedule knows it; nil without a clock or data.
    var scheduled: EvaluationSchedule.Domain? {
        guard let clock, let newestMs, let first = self.nodes.lazy.map(\.firstMs).min() else { return nil }
        return EvaluationSchedule.Domain(
            bucketMs: clock.bucketMs, latenessMs: clock.latenessMs, newestMs: newestMs,
            firstBucket: clock.bucket(of: first))
    }

    /// Where evaluation goes on for the shards of `owned`: the bucket after the last that each of them has evaluated, or its
    /// first with data. nil when nothing newer is known than what was evaluated.
    func pendingStart(owned: Set<Shard>) -> Int64? {
        guard let clock else { return nil }
        var first: [Shard: Int64] = [:]
        var last: [Shard: Int64] = [:]
        for node in self.nodes where owned.contains(node.shard) {
            first[node.shard] = min(first[node.shard] ?? .max, clock.bucket(of: node.firstMs))
            last[node.shard] = max(last[node.shard] ?? .min, clock.bucket(of: node.lastMs))
        }
        var start: Int64?
        for (shard, firstBucket) in first {
            let next = self.evaluated[shard].map { max($0 + 1, firstBucket) } ?? firstBucket
            if let lastBucket = last[shard], lastBucket >= next { start = min(start ?? .max, next) }
        }
        return start
    }

    /// Whether the window has left out buckets at which evaluation is to go on, as one does that was made before shards were
    /// gained: what is before it must be read first.
    func isBehindWindow(owned: Set<Shard>) -> Bool {
        guard let window, let start = self.pendingStart(owned: owned) else { return false }
        return start < window.base
    }

    /// The first bucket with data that a shard of `owned` has not evaluated, in what is loaded; nil where the window begins later
    /// than what is pending.
    func nextPending(owned: Set<Shard>) -> Int64? {
        guard let window, var bucket = self.pendingStart(owned: owned), bucket >= window.base else { return nil }
        let mask = owned.mask
        while let occupied = window.firstOccupied(from: bucket, mask: mask) {
            guard self.dueShards(at: occupied, owned: owned).isEmpty else {
                return occupied
            }
            bucket = occupied + 1
        }
        return nil
    }

    /// Shards of `owned` that have data in `bucket` and have not evaluated it, ascending.
    func dueShards(at bucket: Int64, owned: Set<Shard>) -> [Shard] {
        let mask = (self.window?.shardMask(bucket) ?? 0) & owned.mask
        guard mask != 0 else { return [] }
        return Shard.all.filter { mask & $0.bit != 0 && (self.evaluated[$0] ?? .min) < bucket }
    }

    /// Events of `shards` with a value in `bucket`, ascending.
    func events(at bucket: Int64, shards: Set<Shard>) -> [String] {
        guard let window else { return [] }
        var events: [String] = []
        for slot in self.order where shards.contains(self.nodes[slot].shard) {
            let event = self.nodes[slot].key.event
            if events.last != event, !window.aggregate(slot: slot, bucket: bucket).isNaN { events.append(event) }
        }
        return events
    }
}

extension Shard {
    var bit: UInt64 { 1 << UInt64(self.rawValue) }
}

extension Set<Shard> {
    var mask: UInt64 { self.reduce(0) { $0 | $1.bit } }
}

extension Array {
    /// The first index whose element satisfies `isAfter`, which must be false for a prefix and true for the rest.
    func partitionIndex(where isAfter: (Element) -> Bool) -> Int {
        var (low, high) = (0, self.count)
        while low < high {
            let middle = (low + high) / 2
            if isAfter(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
