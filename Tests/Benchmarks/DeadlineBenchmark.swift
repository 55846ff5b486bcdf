import Foundation
import Logging
import Postgres
import TestSupport

/// How long a query goes on in the database after its request is over, the whole way: client, TLS, gateway, service, SQL. A lock
/// holds every query of the route back; what still waits is looked at in `pg_stat_activity` again and again.
///
/// Needs a running system as ``IngestBenchmark`` does.
enum DeadlineBenchmark {
    static let benchmark = BenchmarkCase(name: "deadlines", run: Self.run)
    static let rounds = 40
    /// Milliseconds; below the bound that interactive reads have anyway.
    static let deadlines = [100, 150, 200, 300]
    static let together = 4
    static let goalMs = 50.0

    static func run() throws -> [Measurement] {
        guard let system = try RunningSystem.ofEnvironment() else {
            print("deadlines: NOT RUN, it needs a running system: use `make bench`")
            return []
        }
        print(
            "deadlines: \(Self.rounds) rounds of \(Self.together) requests with \(Self.deadlines) ms, and as many clients "
                + "that hang up after that time")
        return try BlockingTask.run {
            let configuration = try PostgresConfiguration(
                connectionString: system.databaseURL, pool: .init(minimum: 2, maximum: 2))
            return try await PostgresPool.withPool(configuration, logger: .silent) { pool in
                try await pool.withTransaction { holder in
                    try await holder.query("LOCK TABLE anomalies IN ACCESS EXCLUSIVE MODE")
                    return [
                        try await Self.measure("queries after their deadline", system, pool, hangsUp: false),
                        try await Self.measure("queries after their client hung up", system, pool, hangsUp: true),
                    ]
                }
            }
        }
    }

    private nonisolated(nonsending) static func measure(
        _ name: String, _ system: RunningSystem, _ pool: PostgresPool, hangsUp: Bool
    ) async throws -> Measurement {
        var beyond: [Double] = []
        for round in 0..<Self.rounds {
            let limit = Duration.milliseconds(Self.deadlines[round % Self.deadlines.count])
            let end = ContinuousClock.now + limit
            let asked = Task {
                try await withThrowingTaskGroup(of: Int.self) { group in
                    for _ in 0..<Self.together {
                        group.addTask {
                            try await system.status(
                                "/v1/anomalies?limit=1", timeout: hangsUp ? .seconds(10) : limit)
                        }
                    }
                    return try await group.reduce(into: []) { $0.append($1) }
                }
            }
            let hangUp = Task {
                try await Task.sleep(until: end, clock: .continuous)
                if hangsUp { asked.cancel() }
            }
            let last = try await Self.lastSeen(pool, until: end + .seconds(2))
            _ = try? await hangUp.value
            let statuses = try? await asked.value
            guard hangsUp || statuses == Array(repeating: 504, count: Self.together) else {
                throw WrongAnswer(description: "the requests were answered with \(statuses ?? [])")
            }
            beyond.append((last - end) / .milliseconds(1))
        }
        beyond.sort()
        print("  \(name): p50 \(beyond.median) ms, longest \(beyond.last ?? .nan) ms")
        let longest = max(0.1, beyond.last ?? .nan)
        return Measurement(
            name: "\(name), longest of \(beyond.count)", value: longest, unit: "ms", peer: "goal",
            peerValue: Self.goalMs, ratio: Self.goalMs / longest, spread: (beyond[35] - beyond[4]) / longest)
    }

    /// When a query was last seen waiting for the lock. Looks until none has been there for 150 ms.
    /// - Throws: ``WrongAnswer`` when there was none, or there is still one at the end.
    private nonisolated(nonsending) static func lastSeen(
        _ pool: PostgresPool, until end: ContinuousClock.Instant
    ) async throws -> ContinuousClock.Instant {
        var last: ContinuousClock.Instant?
        while true {
            let waiting = try await pool.query(
                """
                SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND state = 'active' AND wait_event_type = 'Lock'
                """
            ).column(Int64.self)
            let now = ContinuousClock.now
            if waiting != [0] { last = now }
            if let last, now - last > .milliseconds(150) { return last }
            guard now < end else {
                throw WrongAnswer(description: last == nil ? "no query was held back" : "a query is still there")
            }
            try await Task.sleep(for: .milliseconds(1))
        }
    }
}
