import Model
import Postgres

/// Reads observations of many nodes piece by piece; the server works on some while others are taken in.
struct SeriesLoader: Sendable {
    /// Connections that read at a time.
    private static let readers = 2

    let pool: PostgresPool

    func read(
        _ spans: [SeriesReader.Span], bucketMs: Int64, _ take: ([NodeReadings]) -> Void
    ) async throws {
        var slices = SeriesReader.slices(spans, bucketMs: bucketMs)[...]
        let pool = self.pool
        try await withThrowingTaskGroup(of: [NodeReadings].self) { group in
            var underWay = 0
            while underWay > 0 || !slices.isEmpty {
                while underWay < Self.readers, let slice = slices.popFirst() {
                    underWay += 1
                    group.addTask {
                        try await pool.withConnection { try await SeriesReader(connection: $0).observations(slice) }
                    }
                }
                guard let readings = try await group.next() else { return }
                underWay -= 1
                take(readings)
            }
        }
    }

    /// What each node's last bucket before `base` holds.
    func held(
        _ nodes: [(shard: Shard, id: NodeID)], before base: Int64, clock: DomainSeries.Clock
    ) async throws -> [NodeReadings] {
        guard !nodes.isEmpty else { return [] }
        let last = try await self.pool.withConnection {
            try await SeriesReader(connection: $0).lastTimes(nodes, beforeMs: base * clock.bucketMs)
        }
        let spans = nodes.compactMap { node in
            last[node.id].map { time in
                let bucket = clock.bucket(of: time)
                return SeriesReader.Span(
                    shard: node.shard, node: node.id, fromMs: bucket * clock.bucketMs,
                    toMs: (bucket + 1) * clock.bucketMs)
            }
        }
        var held: [NodeReadings] = []
        try await self.read(spans, bucketMs: clock.bucketMs) { held += $0 }
        return held
    }

    /// Puts the buckets `range` of a domain into a cache that knows its nodes and clock, and what they come into it with.
    func load(_ range: Range<Int64>, of name: String, into cache: inout SeriesCache) async throws {
        guard !range.isEmpty, let domain = cache.domains[name], let clock = domain.clock else { return }
        let baseMs = range.lowerBound * clock.bucketMs
        let plan = SeriesCache.WindowPlan(
            domain: name, rebuilds: true, base: range.lowerBound, capacity: range.count,
            spans: domain.spans(from: range.lowerBound, to: range.upperBound),
            heldBefore: domain.nodes.filter { $0.firstMs < baseMs }.map { ($0.shard, $0.id) },
            loadedEnd: range.upperBound)
        let held = try await self.held(plan.heldBefore, before: plan.base, clock: clock)
        cache.begin(plan, held: held)
        try await self.read(plan.spans, bucketMs: clock.bucketMs) { cache.refresh(name, $0) }
        cache.finish(plan)
    }

    /// A cache that knows the nodes, profiles and clocks of some domains, and no observation yet.
    ///
    /// - Parameter widths: of buckets, where they are known; elsewhere declared, or derived from the data.
    /// - Returns: nil when these domains have more than `nodeLimit` nodes together.
    func cache(_ domains: [String], widths: [String: Int64], nodeLimit: Int) async throws -> SeriesCache? {
        let (nodes, profiles) = try await self.pool.withConnection { connection in
            let reader = SeriesReader(connection: connection)
            return (
                try await reader.nodes(ofDomains: domains, limit: nodeLimit + 1),
                try await reader.profiles(since: .earliest)
            )
        }
        guard nodes.count <= nodeLimit else { return nil }
        var cache = SeriesCache()
        for (profile, _) in profiles where domains.contains(profile.domain) { _ = cache.declare(profile) }
        for node in nodes { cache.register(node) }
        for name in cache.domains.keys {
            let newest = cache.domains[name]?.nodes.lazy.map(\.lastMs).max() ?? .min
            var width = widths[name]
            if width == nil, cache.domains[name]?.clock == nil {
                let nodes = cache.domains[name]?.nodes.map { (shard: $0.shard, id: $0.id) } ?? []
                let times = try await self.pool.withConnection {
                    try await SeriesReader(connection: $0).firstTimes(nodes)
                }
                width = ClockRule.width(times: times)
            }
            cache.update(name) { domain in
                if let width { domain.setWidth(width) }
                if newest > .min { domain.newestMs = newest }
            }
        }
        return cache
    }
}
