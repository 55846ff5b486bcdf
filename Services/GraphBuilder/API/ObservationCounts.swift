import Postgres

/// How many observations each domain has. Counting reads them all, so a count is kept for a while: at least two seconds, and
/// ten times as long as counting took.
actor ObservationCounts {
    private let pool: PostgresPool
    private var counts: [String: Int64] = [:]
    private var validUntil: ContinuousClock.Instant?
    private var isCounting = false

    init(pool: PostgresPool) { self.pool = pool }

    func current() async throws -> [String: Int64] {
        if let validUntil, self.isCounting || ContinuousClock.now < validUntil { return self.counts }
        self.isCounting = true
        defer { self.isCounting = false }
        let begin = ContinuousClock.now
        let rows = try await self.pool.query(
            """
            SELECT n.domain, sum(o.count)::bigint FROM (
                SELECT shard, node_id, count(*) FROM observations GROUP BY shard, node_id) o
            JOIN nodes n ON n.shard = o.shard AND n.node_id = o.node_id GROUP BY n.domain
            """)
        var counts: [String: Int64] = [:]
        for row in rows {
            let (domain, count) = try row.decode((String, Int64).self)
            counts[domain] = count
        }
        self.counts = counts
        self.validUntil = .now + max(.seconds(2), (ContinuousClock.now - begin) * 10)
        return counts
    }
}
