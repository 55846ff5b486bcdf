import Foundation
import Model
import Postgres
import TestSupport
import Testing

extension ProcessTests {
    @Suite("Chaos: trouble with the database", .serialized)
    struct DatabaseTrouble {
        private static let plan = ObservationPlan.usual

        /// Sends the plan while `trouble` goes on, and checks that the same processes brought it to its end.
        private func survive(
            pause: Duration, _ trouble: @escaping @Sendable (Stack, Evidence) async throws -> Void
        ) async throws {
            let plan = Self.plan
            let expected = try await ChaosRun.undisturbed(plan)
            try await ChaosRun.withStack(plan) { stack in
                let process = try stack.program("graph-builder").process
                let evidence = Evidence(stack: stack, plan: plan)
                let delivery = Delivery(plan, to: stack, .init(pause: pause))
                async let sent: Void = delivery.send()
                try await stack.eventually("ingest has begun") { delivery.tally.acknowledged.count > 4 }
                try await trouble(stack, evidence)
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
            try await self.survive(pause: .milliseconds(200)) { _, evidence in
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
            try await self.survive(pause: .milliseconds(200)) { stack, _ in
                for immediately in [false, true] {
                    try stack.cluster.stopServer(immediately: immediately)
                    try await Task.sleep(for: .milliseconds(500))
                    try await stack.cluster.startAgain()
                    try await Task.sleep(for: .milliseconds(500))
                }
            }
        }

        @Test("while max_connections is exhausted callers get 503 with Retry-After; once there is room all goes on")
        func exhausted() async throws {
            try await ChaosRun.withStack(Self.plan) { stack in
                let process = try stack.program("graph-builder").process
                let evidence = Evidence(stack: stack, plan: Self.plan)
                try await Delivery(Self.plan, batches: [0], to: stack).send()
                var crowd: [PostgresConnection] = []
                do {
                    try await Self.fill(stack, evidence, &crowd)
                    for batch in 1...2 {
                        let reply = try await stack.observe(body: Self.plan.body(batch))
                        #expect(reply.status == 503, "\(reply.status) \(reply.text)")
                        #expect(reply.problem?.retryAfter != nil && reply.header("retry-after") != nil)
                    }
                } catch {
                    for connection in crowd { await connection.close() }
                    throw error
                }
                for connection in crowd { await connection.close() }
                let rest = Delivery(Self.plan, batches: Array(1..<10), to: stack, .init(patience: .seconds(20)))
                try await rest.send()
                #expect(rest.tally.violations.isEmpty, "\(rest.tally.violations.prefix(5))")
                #expect(try stack.program("graph-builder").process == process)
                #expect(try stack.program("graph-builder").exitCode() == nil)
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
