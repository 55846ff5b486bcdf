import Engine
import Logging
import Model
import Postgres

/// Retires what ``RetentionPlan`` does not keep: whole partitions of observations, and rows of what was derived from them. Any
/// number of replicas may do it at once.
struct ObservationRetention: Sendable {
    typealias Day = ObservationPartitions.Day

    /// What one round may do; the next goes on.
    struct Bounds: Sendable {
        var partitions = 32
        var rowsPerStatement = 20_000
        var statements = 40
        /// Log rows younger than this are kept for replicas that read slowly.
        var logSeconds: Int64 = 86_400
        /// The longest a statement may take; detaching waits for transactions that use the partition.
        var timeout = Duration.seconds(120)
    }

    struct Outcome: Sendable, Hashable {
        var retired: [Day] = []
        var rows = 0
    }

    let pool: PostgresPool
    let partitions: ObservationPartitions
    /// Days before a domain's newest observation that are kept.
    let days: Int64
    var bounds = Bounds()
    var logger = Logger(label: "retention")

    /// Begins again where two replicas, or a replica and a sender, waited for each other: nothing of the statement remains.
    func round() async throws -> Outcome {
        var outcome = Outcome()
        for _ in 1..<Self.attemptLimit {
            do {
                try await self.retire(&outcome)
                return outcome
            } catch let error as PostgresError where error.code == .deadlock {}
        }
        try await self.retire(&outcome)
        return outcome
    }

    private static let attemptLimit = 5

    private func retire(_ outcome: inout Outcome) async throws {
        let plan = try await self.plan()
        // What an interrupted round left.
        for day in try await self.detached() where try await self.settle(day, plan) { outcome.retired.append(day) }
        let present = try await self.pool.withConnection { try await ObservationPartitions.present(on: $0) }
        for day in plan.retired(present).prefix(self.bounds.partitions) where try await self.detach(day) {
            if try await self.settle(day, plan) { outcome.retired.append(day) }
        }
        if !outcome.retired.isEmpty {
            self.partitions.forgetAll()
            self.logger.info(
                "retired partitions",
                metadata: ["first": "\(outcome.retired[0].partition)", "count": "\(outcome.retired.count)"])
        }
        outcome.rows = try await self.purge(plan)
    }

    private var deadline: ContinuousClock.Instant { .now + self.bounds.timeout }

    private func plan() async throws -> RetentionPlan {
        let (newest, widths, profiles) = try await self.pool.withConnection { connection in
            (
                try await connection.query(RetentionStatements.newest, deadline: self.deadline),
                try await connection.query(RetentionStatements.widths, deadline: self.deadline),
                try await SeriesReader(connection: connection).profiles(since: .earliest)
            )
        }
        var bucketMs: [String: Int64] = [:]
        for row in widths {
            let (domain, width) = try row.decode((String, Int64).self)
            bucketMs[domain] = width
        }
        let declared = Dictionary(profiles.map { ($0.0.domain, $0.0) }) { first, _ in first }
        let domains = try newest.map { row in
            let (name, time) = try row.decode((String, Timestamp).self)
            let series = DomainSeries(name: name, profile: declared[name] ?? DomainProfile(domain: name))
            return RetentionPlan.Domain(
                name: name, newest: time, neededMs: Int64(series.neededBuckets) * (bucketMs[name] ?? 0))
        }
        return RetentionPlan(days: self.days, domains: domains)
    }

    /// Days whose tables stand alone. A detachment that was interrupted is finished first: it blocks every other.
    private func detached() async throws -> [Day] {
        try await self.pool.withConnection { connection in
            for name in try await connection.query(RetentionStatements.pending).column(String.self) {
                guard let day = Day(partition: name) else { continue }
                do {
                    try await connection.runScript(RetentionStatements.finalize(day), deadline: self.deadline)
                } catch let error as PostgresError where Self.isRace(error) { continue }
            }
            return try await connection.query(RetentionStatements.detached).column(String.self)
                .compactMap(Day.init(partition:)).sorted()
        }
    }

    /// - Returns: false when another replica is at it.
    private func detach(_ day: Day) async throws -> Bool {
        do {
            // Concurrently: neither readers nor writers of other days wait. It must stand outside any transaction.
            try await self.pool.withConnection { connection in
                try await connection.runScript(RetentionStatements.detach(day), deadline: self.deadline)
            }
            return true
        } catch let error as PostgresError where Self.isRace(error) {
            return false
        }
    }

    /// The table is gone or not in the state in which it was found, or two replicas waited for each other.
    private static func isRace(_ error: PostgresError) -> Bool {
        ["42P01", "55000", "40P01", "42809"].contains(error.sqlState ?? "")
    }

    /// Drops a detached table, or attaches it again when a domain keeps what came into it since the plan was made.
    /// - Returns: whether it was dropped.
    private func settle(_ day: Day, _ plan: RetentionPlan) async throws -> Bool {
        try await self.pool.withTransaction(deadline: self.deadline) { connection in
            // Whoever needs the day again attaches it under the same lock.
            try await connection.lock(.partitions)
            let detached = try await connection.query(RetentionStatements.detached).column(String.self)
            guard detached.contains(day.partition) else { return false }
            var plan = plan
            var isKept = false
            for row in try await connection.query(RetentionStatements.held(day), deadline: self.deadline) {
                let (domain, newest) = try row.decode((String, Timestamp).self)
                plan.add(.init(name: domain, newest: newest, neededMs: plan.domains[domain]?.neededMs ?? 0))
                isKept = isKept || plan.keeps(day, of: domain)
            }
            try await connection.runScript(
                isKept ? ObservationPartitions.attachment(of: day) : RetentionStatements.drop(day),
                deadline: self.deadline)
            return !isKept
        }
    }

    /// Deletes derived rows, domain by domain, within the bounds of one round.
    private func purge(_ plan: RetentionPlan) async throws -> Int {
        var statements = 0
        var rows = 0
        func delete(_ statement: PostgresStatement, _ parameters: [PostgresValue]) async throws {
            while statements < self.bounds.statements {
                statements += 1
                let deleted = try await self.pool.query(
                    statement, parameters + [.int(self.bounds.rowsPerStatement)], deadline: self.deadline
                ).affectedRows
                rows += deleted
                if deleted < self.bounds.rowsPerStatement { return }
            }
        }
        try await delete(RetentionStatements.purgeLog, [.int64(self.bounds.logSeconds)])
        let starts = plan.domains.keys.sorted().compactMap { name in plan.start(of: name).map { (name, $0) } }
        for statement in RetentionStatements.purges + RetentionStatements.purgesOfResults {
            try await delete(statement, [.textArray(starts.map(\.0)), .timestampArray(starts.map(\.1))])
        }
        return rows
    }
}
