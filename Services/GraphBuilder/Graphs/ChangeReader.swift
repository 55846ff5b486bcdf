import Engine
import Model
import Postgres

/// The life of an event's edges, made from stored observations whenever it is asked for: so it is the same after a restart and
/// whatever order observations arrived in.
///
/// Edges are followed over window ends a quarter of the present window apart, those at which tick estimates are made. They
/// come in blocks of ``blockLength``; what happens in a block is found by following edges from the beginning of the block
/// before on, so it does not depend on where a question starts.
struct ChangeReader: Sendable {
    /// Window ends in a block.
    static let blockLength: Int64 = 16
    static let nodeLimit = 20_000
    /// Nodes times buckets in memory for one block, 8 to 12 bytes each.
    static let cellLimit = 40_000_000

    struct Item: Sendable {
        var domain: String
        var change: EdgeChange

        /// In the order of a list; different for each item.
        var position: Position {
            let change = self.change
            let words = [
                self.domain, change.layer.code, change.source.sortText, change.target.sortText,
                change.estimator.rawValue,
                change.kind.rawValue,
            ]
            return Position(time: change.windowEnd, key: words.joined(separator: "\u{1F}"))
        }
    }

    /// A place in the list. An empty key: everything up to and with this time.
    struct Position: Hashable, Comparable, Sendable {
        var time: Timestamp
        var key: String

        /// Keys in the order of their bytes, on every machine.
        static func < (left: Position, right: Position) -> Bool {
            if left.time != right.time { return left.time < right.time }
            if left.key.isEmpty || right.key.isEmpty { return right.key.isEmpty && !left.key.isEmpty }
            return left.key.utf8.lexicographicallyPrecedes(right.key.utf8)
        }
    }

    let pool: PostgresPool
    var thresholds = LayerThresholds()

    /// What one step covers: all that happened after `from`, up to `through`.
    struct Step: Sendable {
        var items: [Item] = []
        var through: Timestamp
        /// Whether later window ends are closed already.
        var goesOn: Bool
    }

    /// All domains of the database, without observations.
    func open() async throws -> SeriesCache {
        let names = try await self.pool.query("SELECT DISTINCT domain FROM nodes").column(String.self)
        let widths = try await self.pool.query(RetentionStatements.widths).map { try $0.decode((String, Int64).self) }
        guard
            let cache = try await SeriesLoader(pool: self.pool).cache(
                names, widths: Dictionary(widths) { first, _ in first }, nodeLimit: Self.nodeLimit)
        else {
            throw Problem(
                .memoryLimitExceeded, detail: "changes are told of systems with up to \(Self.nodeLimit) nodes")
        }
        return cache
    }

    /// Changes after a time, as far as the block goes in which the next data of the event lie.
    func step(_ event: String, after time: Timestamp, in cache: SeriesCache) async throws -> Step? {
        var schedule = EvaluationSchedule()
        for (name, domain) in cache.domains {
            if let scheduled = domain.scheduled { schedule.set(scheduled, for: name) }
        }
        let domains = cache.domains.values.filter { domain in
            domain.clock != nil && domain.nodes.contains { $0.key.event == event }
        }.sorted { $0.name < $1.name }
        guard let next = try await self.nextData(event, domains, after: time) else { return nil }
        var through = Timestamp.latest
        var spans: [ChangeSpan] = []
        for domain in domains {
            guard let span = ChangeSpan(domain, after: max(time, next), open: schedule.domains[domain.name]?.openBucket)
            else { continue }
            spans.append(span)
            through = min(through, span.end)
        }
        guard !spans.isEmpty else { return nil }
        var step = Step(through: through, goesOn: spans.contains { $0.goesOn(after: through) })
        for span in spans {
            let follower = ChangeFollower(event: event, span: span, schedule: schedule, thresholds: self.thresholds)
            let loaded = try await self.load(follower, cache)
            let changes = await follower.changes(in: loaded)
            step.items += changes.filter { $0.windowEnd > time && $0.windowEnd <= through }
                .map { Item(domain: span.domain, change: $0) }
        }
        step.items.sort { $0.position < $1.position }
        return step
    }

    /// A time before which nothing is new to tell: the first data that a window end after `time` may be the first to see.
    private func nextData(_ event: String, _ domains: [DomainSeries], after time: Timestamp) async throws -> Timestamp?
    {
        guard let reach = domains.compactMap({ $0.clock.map { clock in 2 * clock.bucketMs } }).max() else { return nil }
        let steps = domains.map { $0.tickInterval }.max() ?? 1
        let from = Timestamp(milliseconds: max(Timestamp.earliest.milliseconds, time.milliseconds - reach * steps))
        let first =
            try await self.pool.query(
                """
                SELECT min(o.observed_at) FROM nodes n
                CROSS JOIN LATERAL (
                    SELECT observed_at FROM observations o
                    WHERE o.shard = n.shard AND o.node_id = n.node_id AND o.observed_at >= $3
                    ORDER BY observed_at LIMIT 1) o
                WHERE n.shard = $1 AND n.event_id = $2
                """, [.shard(Shard(event: event)), .text(event), .timestamp(from)]
            ).column(Timestamp?.self).first ?? nil
        return first.map { $0.advanced(byMilliseconds: -1) }
    }

    /// Reads what the window ends of a span look at.
    private func load(_ follower: ChangeFollower, _ cache: SeriesCache) async throws -> SeriesCache {
        guard let first = follower.ends.first, let last = follower.ends.last else { return cache }
        var ranges: [String: Range<Int64>] = [:]
        var cells = 0
        for name in follower.names {
            guard let domain = cache.domains[name], let clock = domain.clock else { continue }
            let range =
                clock.bucket(of: first.windowEnd.milliseconds - 1)
                - Int64(domain.neededBuckets)..<clock.bucket(of: last.windowEnd.milliseconds - 1) + 1
            cells += range.count * domain.nodes.count
            ranges[name] = range
        }
        guard cells <= Self.cellLimit else {
            throw Problem(
                .memoryLimitExceeded,
                detail: "following this event takes \(cells) values of its domains, more than \(Self.cellLimit)")
        }
        var loaded = cache
        for (name, range) in ranges.sorted(by: { $0.key < $1.key }) {
            try await SeriesLoader(pool: self.pool).load(range, of: name, into: &loaded)
        }
        return loaded
    }
}

extension NodeKey {
    /// One text for one node.
    fileprivate var sortText: String { [self.domain, self.event, self.market, self.venue].joined(separator: "\u{1E}") }
}
