import Engine
import Model

/// The series of all nodes of all domains, and where each domain's window in memory should stand. A value without I/O: the
/// engine reads what a plan asks for and hands the observations back.
struct SeriesCache: Sendable {
    /// Buckets loaded ahead of evaluation for a domain of few nodes; fewer for many, see ``ahead(nodes:)``.
    static let mostAhead = 2_048
    static let leastAhead = 64

    private(set) var domains: [String: DomainSeries] = [:]
    private(set) var profiles: [String: DomainProfile] = [:]
    private(set) var domainOfNode: [NodeID: String] = [:]

    /// What to read to bring a window where it should be.
    struct WindowPlan: Sendable {
        var domain: String
        /// The window starts anew here; what was in memory is dropped.
        var rebuildAt: Int64?
        /// Whole buckets to read.
        var spans: [SeriesReader.Span]
        /// Nodes whose newest observation before the window is to be looked up, to hold it.
        var heldBefore: [(shard: Shard, id: NodeID)]
        var loadedEnd: Int64
    }

    var nodeCount: Int { self.domainOfNode.count }
    var byteCount: Int { self.domains.values.reduce(0) { $0 + ($1.window?.byteCount ?? 0) } }

    static func ahead(nodes: Int) -> Int { max(leastAhead, min(mostAhead, 2_000_000 / max(1, nodes))) }

    mutating func update(_ name: String, _ change: (inout DomainSeries) -> Void) {
        // Taken out and put back, so that the arrays inside are changed in place.
        guard var domain = self.domains.removeValue(forKey: name) else { return }
        change(&domain)
        self.domains[name] = domain
    }

    mutating func register(_ row: SeriesReader.NodeRow) {
        let name = row.key.domain
        self.domainOfNode[row.id] = name
        if self.domains[name] == nil {
            self.domains[name] = DomainSeries(
                name: name, profile: self.profiles[name] ?? DomainProfile(domain: name))
        }
        // A node whose first observation is still to come has an empty span, which the log will widen.
        self.update(name) {
            $0.register(row.key, id: row.id, firstMs: row.firstMs ?? .max, lastMs: row.lastMs ?? .min)
        }
    }

    /// Takes a declared profile. A domain whose profile changed starts anew from its nodes.
    /// - Returns: whether it changed.
    mutating func declare(_ profile: DomainProfile) -> Bool {
        guard self.profiles[profile.domain] != profile else { return false }
        self.profiles[profile.domain] = profile
        guard let old = self.domains[profile.domain] else { return false }
        var fresh = DomainSeries(name: profile.domain, profile: profile)
        fresh.takeOver(from: old)
        self.domains[profile.domain] = fresh
        return true
    }

    /// Goes up whenever one of these domains gets data for a bucket that was closed already.
    func lateVersion(of names: [String]) -> Int { names.reduce(0) { $0 + (self.domains[$1]?.lateVersion ?? 0) } }

    /// The bucket of each domain from which on its window is needed: its own next evaluation, or that of another domain
    /// whose window end lies within its data, whichever is earlier in event time.
    /// - Parameter revisedEndsMs: window ends that are to be evaluated again.
    func starts(owned: Set<Shard>, revisedEndsMs: [Int64] = []) -> [String: Int64] {
        var endsMs = revisedEndsMs
        for domain in self.domains.values {
            // A bucket that is still open keeps nobody: it may stay so for ever.
            guard let clock = domain.clock, let open = domain.scheduled?.openBucket,
                let pending = domain.nextPending(owned: owned) ?? domain.pendingStart(owned: owned), pending < open
            else { continue }
            endsMs.append(clock.end(of: pending).milliseconds)
        }
        var starts: [String: Int64] = [:]
        for domain in self.domains.values {
            guard let clock = domain.clock, let newest = domain.newestMs,
                let first = domain.nodes.lazy.map(\.firstMs).min()
            else { continue }
            var start = clock.bucket(of: newest) + 1
            for end in endsMs where end <= newest + clock.bucketMs {
                start = min(start, clock.bucket(of: max(end - 1, first)))
            }
            starts[domain.name] = start
        }
        return starts
    }

    /// What to read so that the window of a domain serves evaluations from bucket `start` on; nil when it does already.
    func plan(_ name: String, start: Int64) -> WindowPlan? {
        guard let domain = self.domains[name], let clock = domain.clock, let newest = domain.newestMs else {
            return nil
        }
        let firstMs = domain.nodes.lazy.map(\.firstMs).min() ?? newest
        let newestBucket = clock.bucket(of: newest)
        let slack = Int64(DomainSeries.slackBuckets)
        let needed = Int64(domain.neededBuckets)
        let oldest = max(start - needed, clock.bucket(of: firstMs))
        var capacity = Int64(domain.neededBuckets + DomainSeries.slackBuckets + Self.ahead(nodes: domain.nodes.count))
        let base: Int64
        let loaded: Int64
        var plan = WindowPlan(domain: name, rebuildAt: nil, spans: [], heldBefore: [], loadedEnd: 0)
        if let window = domain.window, oldest >= window.base {
            guard window.loadedEnd <= newestBucket else { return nil }
            capacity = Int64(window.capacity)
            // Full: move on as far as nobody needs what falls out.
            base = window.end <= newestBucket ? max(window.base, start - needed - slack) : window.base
            loaded = max(window.loadedEnd, base)
            guard loaded < base + capacity else { return nil }
        } else {
            base = start - needed - slack
            loaded = base
            plan.rebuildAt = base
            let baseMs = base * clock.bucketMs
            plan.heldBefore = domain.nodes.filter { $0.firstMs < baseMs }.map { ($0.shard, $0.id) }
        }
        plan.loadedEnd = min(base + capacity, newestBucket + 1)
        guard loaded < plan.loadedEnd || plan.rebuildAt != nil else { return nil }
        plan.spans = domain.spans(from: loaded, to: plan.loadedEnd)
        return plan
    }

    /// Moves the window as planned and puts in what was read, sorted by span, time, value.
    mutating func carryOut(_ plan: WindowPlan, start: Int64, held: [SeriesReader.Tick], ticks: [SeriesReader.Tick]) {
        self.update(plan.domain) { domain in
            if let base = plan.rebuildAt {
                let capacity =
                    domain.neededBuckets + DomainSeries.slackBuckets + Self.ahead(nodes: domain.nodes.count)
                var window = BucketWindow(base: base, capacity: capacity)
                for _ in domain.nodes { window.appendNode() }
                domain.window = window
                domain.hold(held)
            } else if let window = domain.window, let newest = domain.newestMs, let clock = domain.clock,
                window.end <= clock.bucket(of: newest)
            {
                let base = start - Int64(domain.neededBuckets + DomainSeries.slackBuckets)
                domain.window?.advance(to: max(window.base, base))
            }
            if let window = domain.window {
                domain.window?.loadedEnd = max(window.loadedEnd, min(plan.loadedEnd, window.end))
            }
            domain.put(ticks)
        }
    }

    /// Puts re-read whole buckets in.
    mutating func refresh(_ name: String, ticks: [SeriesReader.Tick]) { self.update(name) { $0.put(ticks) } }
}

extension DomainSeries {
    /// Whole buckets `from ..< to` of every node that may have data there.
    func spans(from: Int64, to: Int64) -> [SeriesReader.Span] {
        guard let clock, from < to else { return [] }
        let (fromMs, toMs) = (from * clock.bucketMs, to * clock.bucketMs)
        return self.nodes.compactMap { node in
            guard node.firstMs < toMs, node.lastMs >= fromMs else { return nil }
            return SeriesReader.Span(shard: node.shard, node: node.id, fromMs: fromMs, toMs: toMs)
        }
    }

    /// The part of a touched span that is in memory and must be read again, in whole buckets.
    func reread(_ node: NodeID, firstMs: Int64, lastMs: Int64) -> SeriesReader.Span? {
        guard let clock, let window, let slot = self.slots[node] else { return nil }
        let from = max(clock.bucket(of: firstMs), window.base)
        let to = min(clock.bucket(of: lastMs) + 1, window.loadedEnd)
        guard from < to else { return nil }
        return SeriesReader.Span(
            shard: self.nodes[slot].shard, node: node, fromMs: from * clock.bucketMs, toMs: to * clock.bucketMs)
    }

    mutating func put(_ ticks: [SeriesReader.Tick]) {
        self.keepRaw(ticks)
        self.aggregate(ticks) { domain, slot, bucket, value, digest in
            domain.window?.set(
                slot: slot, bucket: bucket, aggregate: value, digest: digest, shard: domain.nodes[slot].shard)
        }
    }

    /// Keeps raw readings of nodes with siblings; `ticks` holds whole buckets.
    private mutating func keepRaw(_ ticks: [SeriesReader.Tick]) {
        guard let clock, let window else { return }
        var start = 0
        while start < ticks.count {
            let node = ticks[start].node
            var end = start + 1
            while end < ticks.count, ticks[end].node == node { end += 1 }
            if let slot = self.slots[node], self.hasSibling(slot) {
                let bounds = (
                    clock.bucket(of: ticks[start].timeMs) * clock.bucketMs,
                    (clock.bucket(of: ticks[end - 1].timeMs) + 1) * clock.bucketMs
                )
                var buffer = self.ticks.removeValue(forKey: slot) ?? TickBuffer()
                let readings = ticks[start..<end].map { Reading(timeMs: $0.timeMs, value: $0.value) }
                buffer.replace(
                    fromMs: bounds.0, toMs: bounds.1, with: TickBuffer.thinned(readings) { clock.bucket(of: $0) })
                buffer.removeBefore(window.base * clock.bucketMs)
                self.ticks[slot] = buffer
            }
            start = end
        }
    }

    /// Sets the value each node comes into the window with.
    mutating func hold(_ ticks: [SeriesReader.Tick]) {
        self.aggregate(ticks) { domain, slot, _, value, _ in domain.window?.held[slot] = value }
    }

    private mutating func aggregate(
        _ ticks: [SeriesReader.Tick], _ each: (inout DomainSeries, Int, Int64, Double, Digest128) -> Void
    ) {
        guard let clock else { return }
        var aggregator = BucketAggregator(bucketMs: clock.bucketMs, fill: self.profile.fill)
        var slot: Int?
        var node: NodeID?
        for tick in ticks {
            if tick.node != node {
                if let slot, let done = aggregator.finish() { each(&self, slot, done.bucket, done.value, done.digest) }
                node = tick.node
                slot = self.slots[tick.node]
            }
            guard let slot else { continue }
            if let done = aggregator.add(timeMs: tick.timeMs, value: tick.value, node: tick.node) {
                each(&self, slot, done.bucket, done.value, done.digest)
            }
        }
        if let slot, let done = aggregator.finish() { each(&self, slot, done.bucket, done.value, done.digest) }
    }
}
