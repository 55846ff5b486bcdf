import Engine
import Model

/// The series of all nodes of all domains, and where each domain's window in memory should stand. A value without I/O: the
/// engine reads what a plan asks for and hands the observations back.
struct SeriesCache: Sendable {
    /// Buckets kept beyond what an evaluation needs, of one node or of many together: those before it, so that domains that wait
    /// for each other can be apart, and those loaded ahead of it. What is missing is read again from storage.
    static let slackBudget = 200_000
    static let aheadBudget = 400_000

    private(set) var domains: [String: DomainSeries] = [:]
    private(set) var profiles: [String: DomainProfile] = [:]
    private(set) var domainOfNode: [NodeID: String] = [:]

    /// What to read to bring a window where it should be.
    struct WindowPlan: Sendable {
        var domain: String
        /// What was in memory is dropped.
        var rebuilds: Bool
        /// Where the window begins from now on, and its length.
        var base: Int64
        var capacity: Int
        /// Whole buckets to read.
        var spans: [SeriesReader.Span]
        /// Nodes whose newest observation before the window is to be looked up, to hold it.
        var heldBefore: [(shard: Shard, id: NodeID)]
        var loadedEnd: Int64
    }

    var nodeCount: Int { self.domainOfNode.count }
    var byteCount: Int { self.domains.values.reduce(0) { $0 + ($1.window?.byteCount ?? 0) } }

    /// - Parameter nodes: of all domains.
    static func slack(nodes: Int) -> Int { max(8, min(128, Self.slackBudget / max(1, nodes))) }
    static func ahead(nodes: Int) -> Int { max(16, min(2_048, Self.aheadBudget / max(1, nodes))) }
    /// Buckets of a domain's window.
    static func capacity(_ domain: DomainSeries, nodes: Int) -> Int {
        domain.neededBuckets + Self.slack(nodes: nodes) + Self.ahead(nodes: nodes)
    }
    /// Buckets of a window above which it is made shorter; apart from its capacity, so that a few nodes more change nothing.
    private static func limit(_ domain: DomainSeries, nodes: Int) -> Int {
        Self.capacity(domain, nodes: nodes) * 5 / 4
    }

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
        let count = self.nodeCount
        self.update(name) { domain in
            // One made for few nodes would be too much for many: it is read anew, before it grows.
            if let window = domain.window, window.capacity > Self.limit(domain, nodes: count) { domain.dropWindow() }
            // A node whose first observation is still to come has an empty span, which the log will widen.
            domain.register(row.key, id: row.id, firstMs: row.firstMs ?? .max, lastMs: row.lastMs ?? .min)
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
            // Its own next closed bucket, which may be far behind the newest where data may come late.
            var start = min(clock.bucket(of: newest) + 1, domain.scheduled?.openBucket ?? .max)
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
        let needed = Int64(domain.neededBuckets)
        let slack = Int64(Self.slack(nodes: self.nodeCount))
        let oldest = max(start - needed, clock.bucket(of: firstMs))
        var plan = WindowPlan(
            domain: name, rebuilds: false, base: start - needed - slack,
            capacity: Self.capacity(domain, nodes: self.nodeCount), spans: [], heldBefore: [], loadedEnd: 0)
        let loaded: Int64
        // A window that would leave unread buckets behind does not know what nodes come into it with: it is made anew.
        let leavesGap = domain.window.map { $0.end <= newestBucket && plan.base > max($0.loadedEnd, $0.base) } ?? true
        if let window = domain.window, oldest >= window.base, !leavesGap {
            // Made when there were far fewer nodes.
            let isTooLong = window.capacity > Self.limit(domain, nodes: self.nodeCount)
            if !isTooLong { plan.capacity = window.capacity }
            // Full: move on as far as nobody needs what falls out.
            let moves = isTooLong || window.end <= newestBucket
            plan.base = moves ? max(window.base, plan.base) : window.base
            loaded = max(window.loadedEnd, plan.base)
            guard isTooLong || loaded <= newestBucket else { return nil }
        } else {
            loaded = plan.base
            plan.rebuilds = true
            let baseMs = plan.base * clock.bucketMs
            plan.heldBefore = domain.nodes.filter { $0.firstMs < baseMs }.map { ($0.shard, $0.id) }
        }
        plan.loadedEnd = min(plan.base + Int64(plan.capacity), newestBucket + 1)
        guard loaded < plan.loadedEnd || plan.rebuilds || plan.capacity != domain.window?.capacity else { return nil }
        plan.spans = domain.spans(from: loaded, to: plan.loadedEnd)
        return plan
    }

    /// Moves the window as planned. What the plan asks for is put in afterwards, piece by piece, by ``refresh(_:_:)``.
    /// - Parameter held: the last bucket before the window of each node that has one.
    mutating func begin(_ plan: WindowPlan, held: [NodeReadings]) {
        self.update(plan.domain) { domain in
            guard let clock = domain.clock else { return }
            guard plan.rebuilds else {
                domain.window?.move(to: plan.base, capacity: plan.capacity)
                return
            }
            // First, so that the old one and the new one are not in memory together.
            domain.window = nil
            var window = BucketWindow(base: plan.base, capacity: plan.capacity, bucketMs: clock.bucketMs)
            for node in domain.nodes { window.appendNode(node.id) }
            domain.window = window
            domain.hold(held)
        }
    }

    /// All that the plan asks for is in; until then none of it counts as read.
    mutating func finish(_ plan: WindowPlan) {
        self.update(plan.domain) { domain in
            guard let window = domain.window else { return }
            domain.window?.loadedEnd = max(window.loadedEnd, min(plan.loadedEnd, window.end))
        }
    }

    /// Puts re-read whole buckets in.
    mutating func refresh(_ name: String, _ readings: [NodeReadings]) { self.update(name) { $0.put(readings) } }
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

    /// The node, when it got data from before the window.
    func enteringAnew(_ node: NodeID, firstMs: Int64) -> (shard: Shard, id: NodeID)? {
        guard let clock, let window, let slot = self.slots[node], clock.bucket(of: firstMs) < window.base else {
            return nil
        }
        return (self.nodes[slot].shard, node)
    }

    mutating func put(_ readings: [NodeReadings]) {
        for node in readings where !node.readings.isEmpty {
            guard let slot = self.slots[node.node] else { continue }
            if self.hasSibling(slot) { self.keepRaw(node.readings, slot: slot) }
            let shard = self.nodes[slot].shard
            self.aggregate(node) { domain, bucket in
                domain.window?.set(slot: slot, bucket, shard: shard)
            }
        }
    }

    /// Keeps raw readings of a node with siblings; they are those of whole buckets.
    private mutating func keepRaw(_ readings: [Reading], slot: Int) {
        guard let clock, let window, let first = readings.first, let last = readings.last else { return }
        var buffer = self.ticks.removeValue(forKey: slot) ?? TickBuffer()
        buffer.replace(
            fromMs: clock.bucket(of: first.timeMs) * clock.bucketMs,
            toMs: (clock.bucket(of: last.timeMs) + 1) * clock.bucketMs,
            with: TickBuffer.thinned(readings) { clock.bucket(of: $0) })
        buffer.removeBefore(window.base * clock.bucketMs)
        self.ticks[slot] = buffer
    }

    /// Sets the value each node comes into the window with.
    mutating func hold(_ readings: [NodeReadings]) {
        for node in readings {
            guard let slot = self.slots[node.node] else { continue }
            self.aggregate(node) { domain, bucket in domain.window?.hold(slot: slot, value: bucket.value) }
        }
    }

    private mutating func aggregate(
        _ node: NodeReadings, _ each: (inout DomainSeries, BucketAggregator.Bucket) -> Void
    ) {
        guard let clock else { return }
        var aggregator = BucketAggregator(bucketMs: clock.bucketMs, fill: self.profile.fill)
        for reading in node.readings {
            if let done = aggregator.add(timeMs: reading.timeMs, value: reading.value, node: node.node) {
                each(&self, done)
            }
        }
        if let done = aggregator.finish() { each(&self, done) }
    }
}
