import Engine
import Logging
import Model
import Postgres

/// Follows the ingest log, keeps the series, evaluates what is due for the shards this replica holds, and has the results
/// written. Runs on a thread of its own; everything it knows can be rebuilt from the database.
actor EvaluationEngine {
    private nonisolated let executor = EngineExecutor(label: "evaluation")
    nonisolated var unownedExecutor: UnownedSerialExecutor { self.executor.asUnownedSerialExecutor() }

    struct Settings: Sendable {
        var thresholds = LayerThresholds()
        /// Work collected before it is written.
        var batchTime = Duration.milliseconds(250)
        var batchEvaluations = 512
        /// Stored edges are a cache: written when caught up, and this often while behind.
        var graphInterval = Duration.seconds(1)
        /// Wall-clock time by which a partner that may still deliver is waited for, besides two of its buckets.
        var partnerWait = Duration.seconds(5)
    }

    let pool: PostgresPool
    let keeper: LeaseKeeper
    let writer: EvaluationWriter
    let graphs: GraphStore
    let metrics: GraphBuilderMetrics
    let settings: Settings
    let layers: LayerControl
    /// nil: memory is not looked at.
    let memory: MemoryWatch?
    let logger: Logger
    let startedAt = ContinuousClock.now
    var pace = GraphPace(rate: 0)

    var cache = SeriesCache()
    var schedule = EvaluationSchedule()
    var tail: LogTail?
    var profilesSince = Timestamp.earliest
    var declared = DeclaredPairs()
    /// Epoch by shard of what is being worked for.
    var owned: [Shard: Int64] = [:]
    /// By shard and domain.
    var detectors: [Shard: [String: DetectorStates]] = [:]
    /// Up to which bucket end detectors and stored rows of a shard and domain have got; evaluations up to there only bring
    /// memory back.
    var learnt: [Shard: [String: Timestamp]] = [:]
    var stored: [Shard: [String: Timestamp]] = [:]
    /// Shards whose stored evaluations are still being made again: graphs of them would be older than what readers have seen.
    var returning: Set<Shard> = []
    /// Newest evaluation of each owned event, by domain.
    var parts: [String: [String: DomainEvaluator.Part]] = [:]
    /// Evaluations that are to be made again because a domain they are compared with has delivered since, oldest first.
    var revisions: [Revision] = []
    /// Since when a domain waits before a bucket.
    var waiting: [String: (bucket: Int64, since: ContinuousClock.Instant)] = [:]
    /// Evaluated since the graphs were last written.
    var unpublished: Set<String> = []
    var unstored: Set<String> = []
    /// Whether the last batch went over empty buckets.
    var passedOver = false
    /// What could not be written yet.
    var pending = EvaluationBatch()
    var graphsWrittenAt = ContinuousClock.now
    var freed = FreedMemory()
    private var isWorking = false
    /// It is to lose everything when the round that runs has ended.
    private var isDoomed = false

    init(
        pool: PostgresPool, keeper: LeaseKeeper, graphs: GraphStore, metrics: GraphBuilderMetrics,
        settings: Settings = Settings(), layers: LayerControl = LayerControl(), memory: MemoryWatch? = nil,
        logger: Logger
    ) {
        self.pool = pool
        self.keeper = keeper
        self.writer = EvaluationWriter(pool: pool, replica: keeper.store.replica)
        self.graphs = graphs
        self.metrics = metrics
        self.settings = settings
        self.layers = layers
        self.memory = memory
        self.logger = logger
    }

    /// Reads, evaluates and writes until nothing is left to do.
    func catchUp() async throws {
        self.isWorking = true
        defer {
            self.isWorking = false
            if self.isDoomed { self.loseEverything() }
        }
        // What a failure left unwritten goes first, so that it cannot pile up.
        if !self.pending.isEmpty {
            try await self.follow(self.keeper.trusted)
            try await self.flush(isCaughtUp: false)
        }
        var goesOn = true
        while goesOn, !self.isDoomed, !Task.isCancelled {
            // What was built is written; reading on or building would only take more.
            if let memory, memory.isShedding {
                memory.recordShed()
                self.freed.note()
                break
            }
            let readMore = try await self.read()
            try await self.follow(self.keeper.trusted)
            try await self.moveWindows(isLevel: !readMore)
            let evaluated = self.evaluateBatch()
            try await self.flush(isCaughtUp: !evaluated && !readMore)
            self.report()
            if evaluated { self.freed.note() }
            goesOn = readMore || evaluated
        }
        self.freed.giveBackIfDue()
    }

    /// Changes how many graphs a second may be built; 0: any number.
    func limit(graphsPerSecond rate: Int) { self.pace.set(rate: rate) }

    /// Loses everything it knows, as if its process had been killed: the next round begins from the database.
    ///
    /// Not in the middle of one: what it waits for would come into emptied memory, and pass for all there is.
    func die() {
        self.isDoomed = true
        if !self.isWorking { self.loseEverything() }
    }

    private func loseEverything() {
        self.isDoomed = false
        self.letGo(Set(self.owned.keys))
        self.pending = EvaluationBatch()
        self.cache = SeriesCache()
        self.schedule = EvaluationSchedule()
        self.tail = nil
        self.profilesSince = .earliest
        self.parts = [:]
        self.revisions = []
        self.waiting = [:]
        self.unpublished = []
        self.unstored = []
    }

    // MARK: Reading

    /// Takes one page of the log in. Returns whether more may be waiting.
    func read() async throws -> Bool {
        let known = self.tail
        let since = self.profilesSince
        let result = try await self.pool.withConnection { connection in
            let reader = SeriesReader(connection: connection)
            let page = try await known?.next(connection)
            guard let page, !page.hasMissedRows else {
                let tail = try await LogTail.atHorizon(connection)
                let profiles = try await reader.profiles(since: since)
                let nodes = try await reader.allNodes()
                // At the start nothing is in memory yet that could have changed.
                let touched = page == nil ? [] : nodes.compactMap(\.touched)
                return (
                    page: LogTail.Page(touched: touched, batches: 0, tail: tail), profiles: profiles,
                    nodes: nodes, calls: try await reader.declaredCalls()
                )
            }
            // After the log: a profile that was declared before data were sent is seen with them.
            let profiles = try await reader.profiles(since: since)
            return (page: page, profiles: profiles, nodes: [], calls: try await reader.declaredCalls())
        }
        self.declared = DeclaredPairs(result.calls)
        for (profile, changedAt) in result.profiles {
            self.profilesSince = max(self.profilesSince, changedAt)
            if self.cache.declare(profile) { self.forget(domain: profile.domain) }
        }
        for node in result.nodes { self.cache.register(node) }
        let unknown = result.page.touched.map(\.node).filter { self.cache.domainOfNode[$0] == nil }
        if !unknown.isEmpty {
            let rows = try await self.pool.withConnection {
                try await SeriesReader(connection: $0).nodes(unknown)
            }
            for row in rows { self.cache.register(row) }
        }
        try await self.take(result.page.touched)
        if known == nil { self.noteNewest() }
        try await self.settleClocks()
        self.tail = result.page.tail
        return result.page.isFull
    }

    /// Widens the spans of touched nodes and reads again what of them is in memory.
    private func take(_ touched: [LogTail.Touched]) async throws {
        var spans: [String: [SeriesReader.Span]] = [:]
        // Nodes with data from before their domain's window, which may change what they come into it with.
        var entering: [String: [(shard: Shard, id: NodeID)]] = [:]
        let open = self.cache.domains.compactMapValues { $0.scheduled?.openBucket }
        for touch in touched {
            guard let name = self.cache.domainOfNode[touch.node] else { continue }
            self.cache.update(name) {
                $0.touch(touch.node, firstMs: touch.firstMs, lastMs: touch.lastMs, open: open[name])
            }
            if let span = self.cache.domains[name]?.reread(touch.node, firstMs: touch.firstMs, lastMs: touch.lastMs) {
                spans[name, default: []].append(span)
            }
            if let domain = self.cache.domains[name], let node = domain.enteringAnew(touch.node, firstMs: touch.firstMs)
            {
                entering[name, default: []].append(node)
            }
        }
        for (name, nodes) in entering.sorted(by: { $0.key < $1.key }) {
            guard let base = self.cache.domains[name]?.window?.base else { continue }
            let held = try await self.held(name, nodes, before: base)
            self.cache.update(name) { $0.hold(held) }
        }
        for (name, spans) in spans.sorted(by: { $0.key < $1.key }) {
            try await self.read(spans, of: name) { self.cache.refresh(name, $0) }
        }
    }

    /// After a start all that is stored counts as read.
    private func noteNewest() {
        for name in self.cache.domains.keys {
            self.cache.update(name) { domain in
                let newest = domain.nodes.lazy.map(\.lastMs).max() ?? .min
                if newest > .min { domain.newestMs = max(domain.newestMs ?? .min, newest) }
            }
        }
    }

    /// Derives the clocks that were not declared, as soon as their data settle them.
    private func settleClocks() async throws {
        for (name, domain) in self.cache.domains where domain.clock == nil && domain.newestMs != nil {
            let nodes = domain.nodes.map { (shard: $0.shard, id: $0.id) }
            let times = try await self.pool.withConnection {
                try await SeriesReader(connection: $0).firstTimes(nodes)
            }
            if let width = ClockRule.width(times: times) { self.cache.update(name) { $0.setWidth(width) } }
        }
    }

    private func read(
        _ spans: [SeriesReader.Span], of domain: String, _ take: ([NodeReadings]) -> Void
    ) async throws {
        guard let clock = self.cache.domains[domain]?.clock else { return }
        try await SeriesLoader(pool: self.pool).read(spans, bucketMs: clock.bucketMs, take)
    }

    /// What each node's last bucket before `base` holds.
    private func held(
        _ name: String, _ nodes: [(shard: Shard, id: NodeID)], before base: Int64
    ) async throws -> [NodeReadings] {
        guard let clock = self.cache.domains[name]?.clock else { return [] }
        return try await SeriesLoader(pool: self.pool).held(nodes, before: base, clock: clock)
    }

    // MARK: Windows

    /// Brings every domain's window where evaluation needs it.
    /// - Parameter isLevel: whether the log has been read to its end.
    func moveWindows(isLevel: Bool) async throws {
        for (name, domain) in self.cache.domains where !domain.isPlaced && domain.clock != nil {
            self.place(domain: name, shards: Array(self.owned.keys))
        }
        self.reschedule(isLevel: isLevel)
        let starts = self.cache.starts(
            owned: Set(self.owned.keys), revisedEndsMs: self.revisions.map(\.windowEnd.milliseconds))
        for (name, start) in starts.sorted(by: { $0.key < $1.key }) {
            guard let plan = self.cache.plan(name, start: start) else { continue }
            var held: [NodeReadings] = []
            if plan.rebuilds { held = try await self.held(name, plan.heldBefore, before: plan.base) }
            self.cache.begin(plan, held: held)
            try await self.read(plan.spans, of: name) { self.cache.refresh(name, $0) }
            self.cache.finish(plan)
            if plan.rebuilds { self.freed.note() }
        }
        self.reschedule(isLevel: isLevel)
    }

    /// A profile changed: series, detectors and clock of the domain start anew.
    private func forget(domain name: String) {
        for shard in self.owned.keys { self.detectors[shard]?[name] = nil }
        self.schedule.remove(name)
        self.waiting[name] = nil
        for (event, parts) in self.parts where parts[name] != nil { self.parts[event]?[name] = nil }
        for shard in self.owned.keys { self.learnt[shard]?[name] = self.stored[shard]?[name] }
        self.returning.formUnion(self.owned.keys.filter { self.stored[$0]?[name] != nil })
    }
}
