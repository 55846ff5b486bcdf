import Engine
import Model
import Postgres

/// The current edges of all graphs as one graph in memory, at most two seconds old.
///
/// A shard is read again only when its revision has moved. Requests that meet a refresh under way wait for it instead of
/// starting another.
actor EdgeCache {
    /// Edges held at most; the strongest of a shard are kept.
    static let edgesPerShard = 20_000

    /// One state of all edges.
    struct Snapshot: Sendable {
        let search: PathSearch
        /// The edge behind each link, by source and target as they are passed.
        let edges: [ForecastPair: Edge]
        /// The newest and the oldest window an edge was computed from; nil without edges.
        let newestWindow: Timestamp?
        let oldestWindow: Timestamp?

        init(edges all: [Edge]) {
            self.search = PathSearch(edges: all)
            var best: [ForecastPair: Edge] = [:]
            for edge in all {
                var ways = [ForecastPair(source: edge.source, target: edge.target)]
                if edge.lagBuckets == 0 { ways.append(ForecastPair(source: edge.target, target: edge.source)) }
                for way in ways {
                    // The same choice as in ``PropagationGraph``.
                    if let other = best[way],
                        (-other.weight, other.latencyMs) <= (-edge.weight, edge.latencyMs)
                    {
                        continue
                    }
                    best[way] = edge
                }
            }
            self.edges = best
            self.newestWindow = all.map(\.windowEnd).max()
            self.oldestWindow = all.map(\.windowEnd).min()
        }
    }

    private let findings: FindingStore
    private let store: EdgeStore
    private let maximumAge: Duration
    private let clock = ContinuousClock()
    private var byShard: [Shard: [Edge]] = [:]
    private var revisions: [Shard: Int64] = [:]
    private var snapshot = Snapshot(edges: [])
    private var checkedAt: ContinuousClock.Instant?
    private var refresh: Task<Snapshot, any Error>?

    init(pool: PostgresPool, maximumAge: Duration = .seconds(2)) {
        self.findings = FindingStore(pool: pool)
        self.store = EdgeStore(pool: pool)
        self.maximumAge = maximumAge
    }

    func current() async throws -> Snapshot {
        if let checkedAt = self.checkedAt, self.clock.now - checkedAt < self.maximumAge { return self.snapshot }
        if let refresh = self.refresh { return try await refresh.value }
        // The task belongs to the requests that await it; it ends with its two queries, which have time limits.
        let task = Task { try await self.reload() }
        self.refresh = task
        defer { self.refresh = nil }
        return try await task.value
    }

    private func reload() async throws -> Snapshot {
        let started = self.clock.now
        let newest = try await self.findings.revisions()
        let changed = newest.filter { self.revisions[$0.key] != $0.value }.map(\.key).sorted()
        if !changed.isEmpty {
            var fresh: [Shard: [Edge]] = [:]
            let rows = try await self.store.current(inShards: changed, limit: Self.edgesPerShard * changed.count)
            for row in rows { fresh[row.shard, default: []].append(row.edge) }
            for shard in changed {
                self.byShard[shard] = fresh[shard]
                self.revisions[shard] = newest[shard]
            }
            let edges = self.byShard.sorted { $0.key < $1.key }.flatMap(\.value)
            self.snapshot = await Self.build(edges)
        }
        self.checkedAt = started
        return self.snapshot
    }

    @concurrent private static func build(_ edges: [Edge]) async -> Snapshot { Snapshot(edges: edges) }
}
