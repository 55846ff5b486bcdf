import Foundation
import Model
import Postgres
import TestSupport

/// Single-row statements through the pool against PostgreSQL's own pgbench, and the time the client adds to libpq's.
enum StatementBenchmarks {
    static let benchmark = BenchmarkCase(name: "statements", run: Self.run)
    static let rowCount = 10_000
    static let connections = 8
    static let callers = 64
    static let rounds = 3
    static let seconds = 2
    static let select: PostgresStatement = "SELECT value FROM bench_row WHERE id = $1"
    static let insert: PostgresStatement = "INSERT INTO bench_log (id, value) VALUES ($1, $2)"

    static func run() throws -> [Measurement] {
        print(
            "statements: private server on a Unix socket, \(Self.rowCount) rows, \(Self.connections) connections, "
                + "\(Self.callers) callers; pgbench -M prepared -c \(Self.connections) -j 2")
        return try BlockingTask.run {
            try await TestDatabase.with(migrated: false) { database in
                let pool = PostgresConfiguration.Pool(
                    minimum: Self.connections, maximum: Self.connections, leaseTimeout: .seconds(20))
                return try await database.withPool(pool) { pool in
                    try await Self.prepare(pool)
                    var results = [try await Self.latency(pool, url: database.url)]
                    results += try await Self.throughput(pool, url: database.url)
                    return results
                }
            }
        }
    }

    private nonisolated(nonsending) static func prepare(_ pool: PostgresPool) async throws {
        try await pool.withConnection { connection in
            try await connection.runScript(
                """
                CREATE TABLE bench_row (id bigint PRIMARY KEY, value double precision NOT NULL);
                INSERT INTO bench_row SELECT n, n * 0.5 FROM generate_series(1, 10000) n;
                CREATE TABLE bench_log (id bigint NOT NULL, value double precision NOT NULL)
                """)
            try await connection.runScript("VACUUM ANALYZE bench_row")
        }
    }

    /// p50 of one statement at a time, in turn through libpq alone and through the pool.
    private nonisolated(nonsending) static func latency(_ pool: PostgresPool, url: String) async throws -> Measurement {
        let raw = try RawConnection(url, prepare: "SELECT value FROM bench_row WHERE id = $1")
        let clock = ContinuousClock()
        var own: [Double] = []
        var bare: [Double] = []
        var medians: [Double] = []
        // In turn, a little of each: what else the machine does then falls on both.
        for round in 0..<400 {
            for index in 0..<50 {
                let id = Int64((round * 50 + index) * 37 % Self.rowCount + 1)
                let start = clock.now
                let value = try raw.query(id)
                bare.append((clock.now - start).inMicroseconds)
                guard value == Double(id) * 0.5 else { throw WrongAnswer(description: "libpq read \(value)") }
            }
            for index in 0..<50 {
                let id = Int64((round * 50 + index) * 37 % Self.rowCount + 1)
                let start = clock.now
                let value = try await pool.query(Self.select, [.int64(id)])[0].decode(Double.self, at: 0)
                own.append((clock.now - start).inMicroseconds)
                guard value == Double(id) * 0.5 else { throw WrongAnswer(description: "the pool read \(value)") }
            }
            medians.append(own.suffix(50).median - bare.suffix(50).median)
        }
        medians.sort()
        let added = own.median - bare.median
        print("  p50: libpq \(bare.median) us, pool \(own.median) us")
        return Measurement(
            name: "added latency over raw libpq, p50", value: added, unit: "us", peer: "goal", peerValue: 30,
            ratio: 30 / max(added, 1), spread: (medians[360] - medians[40]) / bare.median)
    }

    private nonisolated(nonsending) static func throughput(_ pool: PostgresPool, url: String) async throws
        -> [Measurement]
    {
        let pgbench = PgbenchRun(url: url, clients: Self.connections, seconds: Self.seconds)
        let read = "\\set id random(1, 10000)\nSELECT value FROM bench_row WHERE id = :id;\n"
        let write = "\\set id random(1, 10000)\nINSERT INTO bench_log (id, value) VALUES (:id, 0.5);\n"
        let pipeline = "\\startpipeline\n" + String(repeating: read, count: 8) + "\\endpipeline\n"
        var results: [Measurement] = []
        let kinds: [(String, PostgresStatement, String, Int)] = [
            ("single-row SELECT, pipelined", Self.select, read, 1),
            ("single-row INSERT, pipelined", Self.insert, write, 1),
            ("single-row SELECT, pipelined, against pgbench's pipelines of 8", Self.select, pipeline, 8),
        ]
        for (name, statement, script, count) in kinds {
            var own: [Double] = []
            var peer: [Double] = []
            for _ in 0..<Self.rounds {
                own.append(
                    try await Self.rate { index in
                        let id = Int64(index % Self.rowCount + 1)
                        guard statement == Self.select else {
                            try await pool.pipelined(statement, [.int64(id), 0.5])
                            return
                        }
                        let value = try await pool.pipelined(statement, [.int64(id)], isReadOnly: true)[0].decode(
                            Double.self, at: 0)
                        guard value == Double(id) * 0.5 else {
                            throw WrongAnswer(description: "the pool read \(value)")
                        }
                    })
                peer.append(try pgbench.statementsPerSecond(script, statements: count))
            }
            results.append(
                Measurement(
                    name: name, value: own.median, unit: "statements/s", peer: "pgbench", peerValue: peer.median,
                    ratio: own.median / peer.median, spread: ((own.max() ?? 0) - (own.min() ?? 0)) / own.median))
        }
        return results
    }

    /// Calls per second of that many callers, each one statement at a time, after half a second of warm-up.
    static func rate(_ body: @escaping @Sendable (Int) async throws -> Void) async throws -> Double {
        let clock = ContinuousClock()
        let start = clock.now + .milliseconds(500)
        let end = start + .seconds(Self.seconds)
        let total = try await withThrowingTaskGroup(of: Int.self) { group in
            for caller in 0..<Self.callers {
                group.addTask {
                    var calls = 0
                    var index = caller * 7_919
                    while true {
                        let now = clock.now
                        guard now < end else { return calls }
                        try await body(index)
                        if now >= start { calls += 1 }
                        index += 1
                    }
                }
            }
            return try await group.reduce(0, +)
        }
        return Double(total) / Double(Self.seconds)
    }
}

extension Duration {
    var inMicroseconds: Double {
        Double(self.components.seconds) * 1e6 + Double(self.components.attoseconds) * 1e-12
    }
}

extension [Double] {
    var median: Double { self.sorted()[self.count / 2] }
}
