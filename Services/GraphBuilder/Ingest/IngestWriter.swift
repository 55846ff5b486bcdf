import Model
import Postgres

/// Makes chunks durable: unknown nodes, observations, the log row, and with the last chunk of a request the answer under its
/// idempotency key. Chunks of requests that wait for the database together share a transaction, see ``CommitQueue``.
///
/// Observations go in by COPY. When one of them is known already (SQLSTATE 23505) every chunk gets a transaction of its own with
/// `ON CONFLICT DO NOTHING`, and so do the next ones until a chunk brings nothing known: a replay then costs one attempt per
/// chunk, not two.
final class IngestWriter: Sendable {
    /// What one chunk brought.
    struct Stored: Sendable, Hashable {
        /// Observations that were not known.
        var added = 0
        var duplicates = 0
    }

    /// What ends a keyed request: the hash of its body, and the answer once the last chunk's outcome is known.
    struct Completion: Sendable {
        let key: IdempotencyKey
        let payloadHash: [UInt8]
        let answer: @Sendable (Stored) throws -> StoredAnswer
    }

    enum Outcome: Sendable, Hashable {
        case stored(Stored, answer: StoredAnswer?)
        /// Another request with this key and body was done meanwhile; nothing was written now.
        case replay(StoredAnswer)
    }

    /// Attempts to find the partition of a day, with growing pauses: 3 s in all.
    private static let attemptLimit = 7

    private let pool: PostgresPool
    private let partitions: ObservationPartitions
    private let nodes: NodeTable
    private let notifier: IngestNotifier
    private let metrics: IngestMetrics
    private let groups: CommitGroups

    init(
        pool: PostgresPool, partitions: ObservationPartitions, nodes: NodeTable, notifier: IngestNotifier,
        metrics: IngestMetrics, limits: CommitQueue.Limits = CommitQueue.Limits()
    ) {
        self.pool = pool
        self.partitions = partitions
        self.nodes = nodes
        self.notifier = notifier
        self.metrics = metrics
        let committer = IngestCommitter(pool: pool, metrics: metrics)
        self.groups = CommitGroups(limits: limits) { await committer.commit($0) }
    }

    /// Jobs and rows that wait for a transaction.
    var waiting: (jobs: Int, rows: Int) { self.groups.waiting }

    /// The answer stored under a key, if any.
    func answer(for key: IdempotencyKey) async throws -> StoredAnswer? {
        try await Self.patiently {
            try StoredAnswer.decode(
                await self.pool.query(IngestStatements.findKey, [.text(key.caller), .text(key.key)]))
        }
    }

    /// Runs `body` until ``CommitGroups/patience`` is over, if the caller has as much: a database that stands still shall not cost
    /// callers all the time they have.
    private static func patiently<Result>(_ body: () async throws -> Result) async throws -> Result {
        let own = ContinuousClock.now + CommitGroups.patience
        guard PostgresDeadline.current.map({ own < $0 }) ?? true else { return try await body() }
        do {
            return try await PostgresDeadline.$current.withValue(own, operation: body)
        } catch let error as PostgresError where error.code == .timeout && error.sqlState == nil {
            throw CommitGroups.standstill
        }
    }

    /// Commits a chunk; when this returns, its observations are durable.
    ///
    /// - Throws: `Problem` 409 or 422 by the key, 503 when too much waits; ``PostgresError`` otherwise, see
    ///   ``IngestCommitter/commit(_:)``.
    func commit(_ chunk: IngestChunk, completion: Completion? = nil) async throws -> Outcome {
        var job = IngestJob(chunk: chunk, completion: completion)
        job.chunk.sort()
        var attempt = 1
        while true {
            let days = job.chunk.days
            try await Self.patiently { try await self.partitions.ensure(days, pool: self.pool) }
            let result = try await self.groups.submit(job)
            do {
                let outcome = try result.get()
                if case .stored(let stored, _) = outcome { self.committed(job.chunk, stored) }
                return outcome
            } catch let error as PostgresError where error.sqlState == "23514" {
                // A partition is being retired: it stays half attached until everybody who used it is done.
                guard attempt < Self.attemptLimit else {
                    throw Problem(
                        .overloaded, detail: "A day of these observations is being retired.", retryAfter: 5)
                }
                try await Task.sleep(for: .milliseconds(25 << attempt))
                attempt += 1
                self.partitions.forgetAll()
            }
        }
    }

    private func committed(_ chunk: IngestChunk, _ stored: Stored) {
        self.nodes.markStored(Array(chunk.newNodes.values))
        self.metrics.stored(stored)
        if stored.added > 0 { self.notifier.signal() }
    }
}
