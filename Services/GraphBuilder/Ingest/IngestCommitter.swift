import Model
import Postgres
import Synchronization

/// Commits groups of jobs: together by COPY while nothing known comes in, else each in a transaction of its own.
final class IngestCommitter: Sendable {
    private enum Path { case copy, merge }

    /// Transactions tried per job after errors that a second attempt can settle.
    private static let attemptLimit = 4
    /// The longest a transaction may take; a group has no caller whose deadline could count.
    private static let timeLimit = Duration.seconds(120)

    private let pool: PostgresPool
    private let metrics: IngestMetrics
    private let mergesFirst = Atomic<Bool>(false)

    init(pool: PostgresPool, metrics: IngestMetrics) {
        self.pool = pool
        self.metrics = metrics
    }

    /// One outcome a job, in their order. Fails a job with a `Problem` 409 or 422 by its key and ``PostgresError`` otherwise.
    /// Nothing of a failed job was written, except that after `.connectionLost` in the COMMIT it may have been; sending it
    /// again is harmless.
    func commit(_ jobs: [IngestJob]) async -> [CommitGroups.Outcome] {
        self.metrics.committing(jobs: jobs.count, rows: jobs.reduce(0) { $0 + $1.chunk.rows.count })
        if jobs.count > 1, !self.mergesFirst.load(ordering: .relaxed) {
            do {
                return try await self.transact { try await IngestTransaction(connection: $0).copy(jobs) }
                    .map { $0.mapError { $0 } }
            } catch let error as PostgresError where error.severity == .retryLater {
                return jobs.map { _ in .failure(error) }
            } catch {
                // Whoever is to blame shall not spoil it for the others.
                self.metrics.redoing()
            }
        }
        var outcomes: [CommitGroups.Outcome] = []
        for job in jobs {
            do { outcomes.append(.success(try await self.commit(job))) } catch { outcomes.append(.failure(error)) }
        }
        return outcomes
    }

    private func commit(_ job: IngestJob) async throws -> IngestWriter.Outcome {
        var path: Path = self.mergesFirst.load(ordering: .relaxed) ? .merge : .copy
        var attempt = 1
        while true {
            do {
                let outcome = try await self.transact { connection in
                    let transaction = IngestTransaction(connection: connection)
                    switch path {
                    case .copy: return try await transaction.copy([job])[0]
                    case .merge: return try await transaction.merge(job)
                    }
                }.get()
                if path == .merge, case .stored(let stored, _) = outcome {
                    self.mergesFirst.store(stored.duplicates > 0, ordering: .relaxed)
                }
                return outcome
            } catch let error as PostgresError where attempt < Self.attemptLimit {
                attempt += 1
                if error.code == .uniqueViolation, path == .copy {
                    path = .merge
                } else if error.severity != .retryNow {
                    throw error
                }
                self.metrics.redoing()
            }
        }
    }

    private func transact<Result>(_ body: (PostgresConnection) async throws -> Result) async throws -> Result {
        try await self.pool.withTransaction(deadline: .now + Self.timeLimit, body)
    }
}
