import Foundation
import Glibc
import Model
import Postgres
import TestSupport
import Testing

extension ProcessTests {
    @Suite("Chaos: trouble with the database", .serialized)
    struct DatabaseTrouble {
        private static let plan = ObservationPlan.usual

        /// Sends the plan while `trouble` goes on, and checks that the same processes brought it to its end.
        /// - Parameter prepare: what is done before anything is sent.
        private func survive(
            pause: Duration, server: TestCluster? = nil,
            prepare: @escaping @Sendable (Evidence) async throws -> Void = { _ in },
            _ trouble: @escaping @Sendable (Stack, Evidence, Delivery) async throws -> Void
        ) async throws {
            let plan = Self.plan
            let expected = try await ChaosRun.undisturbed(plan)
            try await ChaosRun.withStack(plan, server: server) { stack in
                let process = try stack.program("graph-builder").process
                let evidence = Evidence(stack: stack, plan: plan)
                try await prepare(evidence)
                let delivery = Delivery(plan, to: stack, .init(pause: pause))
                async let sent: Void = delivery.send()
                try await stack.eventually("ingest has begun") { delivery.tally.acknowledged.count > 4 }
                try await trouble(stack, evidence, delivery)
                #expect(delivery.tally.acknowledged.count < plan.batches, "ingest was over before the trouble was")
                try await sent
                #expect(delivery.tally.violations.isEmpty, "\(delivery.tally.violations.prefix(5))")
                #expect(try stack.program("graph-builder").process == process)
                #expect(try stack.program("graph-builder").exitCode() == nil)
                #expect(
                    try await evidence.difference()
                        == Evidence.Difference(missing: 0, unexpected: 0, logged: Int64(plan.rows)))
                #expect(try await evidence.settled() == expected.graphs)
            }
        }

        @Test("connections that are terminated again and again during ingest cost nothing that was acknowledged")
        func terminated() async throws {
            try await self.survive(pause: .milliseconds(200)) { _, evidence, _ in
                var ended = 0
                for _ in 0..<10 {
                    ended += try await evidence.terminateServices()
                    try await Task.sleep(for: .milliseconds(200))
                }
                #expect(ended >= 10)
            }
        }

        @Test("a server that is restarted during ingest is found again without a restart of ours")
        func restarted() async throws {
            try await self.survive(pause: .milliseconds(200)) { stack, _, _ in
                for immediately in [false, true] {
                    try stack.cluster.stopServer(immediately: immediately)
                    try await Task.sleep(for: .milliseconds(500))
                    try await stack.cluster.startAgain()
                    try await Task.sleep(for: .milliseconds(500))
                }
            }
        }

        /// Seen to fail: with the server's address in place of its name nothing is acknowledged any more.
        @Test("a server that comes back on another port behind the same name is found again without a restart of ours")
        func moved() async throws {
            let server = try TestCluster.start()
            defer {
                try? server.stopServer()
                server.remove()
            }
            try await self.survive(pause: .milliseconds(200), server: server) { stack, _, _ in
                for port in [5433, 5434] {
                    try stack.cluster.stopServer(immediately: port == 5433)
                    try await stack.cluster.startAgain(options: ["-c port=\(port)"])
                    try stack.nameServer(port: port)
                    try await Task.sleep(for: .milliseconds(500))
                }
            }
        }

        /// Seen to fail: with SQLSTATE 53100 taken for an error of ours, clients are told 500; with failed rounds of evaluation not
        /// looked at, graphs say that they are of now.
        @Test(
            "a disk that is full in the middle of a COPY refuses with 503 and Retry-After, graphs say stale; with room again all goes on",
            .enabled(if: geteuid() == 0, "needs root for a small file system"))
        func fullDisk() async throws {
            let server = try TestCluster.start()
            let small = server.folder + "/small"
            try ChildProgram.run(["/bin/mkdir", small])
            try ChildProgram.run(["/bin/mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", small])
            defer {
                try? server.stopServer()
                try? ChildProgram.run(["/bin/umount", "-l", small])
                server.remove()
            }
            try server.own("small")
            chmod(small, 0o700)
            let useSmallDisk: @Sendable (Evidence) async throws -> Void = { evidence in
                try await evidence.script("CREATE TABLESPACE small LOCATION '\(small)'")
                try await evidence.script(
                    "ALTER DATABASE \(evidence.stack.options.database) SET default_tablespace = small")
                // A full disk has no room for what is evaluated either.
                for table in ["evaluations", "node_scores"] {
                    try await evidence.script("ALTER TABLE \(table) SET TABLESPACE small")
                }
                // Sessions opened from now on make the partitions there.
                _ = try await evidence.terminateServices()
            }
            try await self.survive(pause: .zero, server: server, prepare: useSmallDisk) { stack, _, delivery in
                try await stack.eventually("the disk is full") { delivery.tally.refusals[503, default: 0] > 8 }
                // What can be read is read, and what is refused is not kept.
                let before = try await stack.residentBytes()
                let whole = try await stack.get("/v1/events?limit=1")
                #expect(whole.status == 200, "\(whole.text)")
                try await stack.eventually("the graph is served and says that it is stale", seconds: 60) {
                    let reply = try await stack.get("/v1/correlation-graph?eventId=fast-one")
                    return reply.status == 200 && reply.text.contains("evaluations fail")
                }
                try await stack.eventually("more is refused") { delivery.tally.refusals[503, default: 0] > 24 }
                try await Self.expectBounded(stack, since: before)
                let log = try String(contentsOfFile: server.folder + "/log", encoding: .utf8)
                #expect(log.contains("No space left on device"))
                try ChildProgram.run(["/bin/mount", "-o", "remount,size=256m", small])
            }
        }

        /// Seen to fail: with SQLSTATE 53300 taken for an error of ours, or nothing served out of memory while the database is away.
        @Test("while max_connections is exhausted callers get 503 with Retry-After; once there is room all goes on")
        func exhausted() async throws {
            try await ChaosRun.withStack(Self.plan) { stack in
                let process = try stack.program("graph-builder").process
                let evidence = Evidence(stack: stack, plan: Self.plan)
                try await Delivery(Self.plan, batches: Array(0..<40), to: stack, .init(window: 8)).send()
                let path = "/v1/correlation-graph?eventId=fast-one"
                try await stack.eventually("there is a graph in memory", seconds: 60) {
                    try await stack.get(path).text.contains(#""state":"ok""#)
                }
                var crowd: [PostgresConnection] = []
                do {
                    try await Self.fill(stack, evidence, &crowd)
                    let before = try await stack.residentBytes()
                    try await stack.eventually("the graph is served and says that it is stale", seconds: 30) {
                        let reply = try await stack.get(path)
                        return reply.status == 200 && reply.text.contains(#""state":"stale""#)
                    }
                    for batch in 40...42 {
                        let reply = try await stack.observe(body: Self.plan.body(batch))
                        #expect(reply.status == 503, "\(reply.status) \(reply.text)")
                        #expect(reply.problem?.retryAfter != nil && reply.header("retry-after") != nil)
                    }
                    try await Self.expectBounded(stack, since: before)
                } catch {
                    for connection in crowd { await connection.close() }
                    throw error
                }
                for connection in crowd { await connection.close() }
                let rest = Delivery(Self.plan, batches: Array(40..<50), to: stack, .init(patience: .seconds(20)))
                try await rest.send()
                #expect(rest.tally.violations.isEmpty, "\(rest.tally.violations.prefix(5))")
                #expect(try stack.program("graph-builder").process == process)
                #expect(try stack.program("graph-builder").exitCode() == nil)
            }
        }

        /// What a service may grow by while it can do nothing: less than what is refused meanwhile would take.
        private static let growthLimit = 48.0 * 1_048_576

        private static func expectBounded(_ stack: Stack, since before: [String: Double]) async throws {
            for (name, bytes) in try await stack.residentBytes() {
                let grown = bytes - (before[name] ?? 0)
                #expect(grown < Self.growthLimit, "\(name): \(grown) bytes more")
            }
        }

        /// Takes every place there is, also those graph-builder has.
        private static func fill(
            _ stack: Stack, _ evidence: Evidence, _ crowd: inout [PostgresConnection]
        ) async throws {
            let configuration = try PostgresConfiguration(
                connectionString: stack.databaseURL, applicationName: "crowd")
            var isFull = false
            while !isFull {
                do {
                    crowd.append(try await PostgresConnection.connect(configuration))
                    try #require(crowd.count < 500)
                } catch let error as PostgresError where error.sqlState == "53300" {
                    isFull = true
                }
            }
            let count: PostgresStatement =
                "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'graph-builder%'"
            // A place that comes free is taken by whoever is faster, so it may take some rounds.
            for _ in 0..<200 {
                guard let first = crowd.first else { return }
                let left = try await first.query(count).column(Int64.self).first ?? 0
                if left == 0 { return }
                _ = try await first.query(Evidence.termination)
                while true {
                    do { crowd.append(try await PostgresConnection.connect(configuration)) } catch { break }
                }
            }
            throw RunningProgram.Failure(description: "graph-builder still has a connection")
        }
    }
}

extension Evidence {
    static let termination: PostgresStatement = """
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'graph-builder%'
        """

    /// Ends all connections of graph-builder to this database. Returns how many there were.
    func terminateServices() async throws -> Int {
        try await self.connected { connection in
            try await connection.query(
                """
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE application_name LIKE 'graph-builder%' AND datname = current_database()
                """
            ).count
        }
    }
}
