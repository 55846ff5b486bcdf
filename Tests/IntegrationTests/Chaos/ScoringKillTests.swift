import Foundation
import Glibc
import Model
import Postgres
import TestSupport
import Testing

extension ProcessTests {
    /// The same findings, turned into anomalies and forecasts twice: in peace, and by programs that are killed all the time.
    ///
    /// Seen to fail: with positions saved in a transaction of their own before the rows.
    @Suite("Chaos: kills during scoring", .serialized)
    struct ScoringKills {
        /// Two events whose nodes follow one another a bucket later, with jumps, and with a while in which they do not.
        private enum Waves {
            static let buckets = 1_400
            static let bucketMs: Int64 = 10_000
            static let profile = """
                {"domain":"wave","bucketMs":10000,"presentBuckets":60,"baselineBuckets":300,"lagBuckets":3,"periodMs":0,
                 "allowedLatenessMs":0}
                """

            static func bodies() -> [Data] {
                var numbers = ChaosNumbers(seed: 5)
                func noise() -> Double { Double.random(in: -1...1, using: &numbers) }
                var past = [0.0, 0.0, 0.0]
                var lines: [String] = []
                for bucket in 0..<Self.buckets {
                    let jump = bucket % 17 == 5 ? (noise() > 0 ? 6.0 : -6.0) : 0
                    past = [noise() + jump] + past.prefix(2)
                    let isApart = (700..<820).contains(bucket) || (1_100..<1_180).contains(bucket)
                    for (number, event) in ["one", "two"].enumerated() {
                        for (lag, venue) in ["here", "there", "beyond"].enumerated() {
                            let value = isApart && lag == 1 ? 3 * noise() : past[lag] + 0.2 * noise()
                            lines.append(
                                Stack.line(
                                    domain: "wave", event: "wave-\(event)", venue: venue,
                                    time: ObservationPlan.originMs + Int64(bucket) * Self.bucketMs
                                        + Int64(number * 3 + lag), value: value))
                        }
                    }
                }
                return stride(from: 0, to: lines.count, by: 2_000).map {
                    Data((lines[$0..<min(lines.count, $0 + 2_000)].joined(separator: "\n") + "\n").utf8)
                }
            }
        }

        /// What one transaction writes, so that a kill may come before, between and behind.
        private static let places = ["forecasts", "anomalies", "reader_positions"]

        private static func killProgram(_ stack: Stack) async throws {
            let program = try stack.program("anomaly-propagation")
            program.signal(SIGKILL)
            _ = try await program.waitForExit(seconds: 10)
        }

        /// Runs `body` on a stack with only anomaly-propagation, on a copy of a database.
        private static func withCopy<Result>(
            of template: String, _ server: TestCluster, settings: [String: String],
            _ body: (Stack) async throws -> Result
        ) async throws -> Result {
            var options = Stack.Options()
            options.database = "\(template)_\(UInt32.random(in: 0 ... .max))"
            options.template = template
            options.programs = ["anomaly-propagation"]
            options.settings = settings
            let stack = try await Stack.start(server, options)
            do {
                let result = try await body(stack)
                try await stack.stop()
                return result
            } catch {
                try? await stack.stop(keepsLogs: true)
                throw RunningProgram.Failure(description: "\(error) (logs: \(stack.folder))")
            }
        }

        /// A database full of findings that nobody has read yet.
        private static func fill(_ server: TestCluster) async throws -> String {
            var options = Stack.Options()
            options.database = "waves"
            options.programs = ["graph-builder", "gateway"]
            let stack = try await Stack.start(server, options)
            do {
                let declared = try await stack.put("/v1/domains/wave", Waves.profile)
                #expect(declared.status < 300, "\(declared.text)")
                for body in Waves.bodies() {
                    let reply = try await stack.observe(body: body)
                    #expect(reply.status == 200, "\(reply.text)")
                }
                struct Page: Decodable { var items: [Evidence.Standing] }
                try await stack.eventually("everything is evaluated", seconds: 180) {
                    let items = try await stack.get("/v1/domains").json(Page.self).items
                    return items.count == 1 && items[0].pendingBuckets + items[0].waitingBuckets == 0
                }
                try await Task.sleep(for: .seconds(2))
                try await stack.stop()
            } catch {
                try? await stack.stop(keepsLogs: true)
                throw RunningProgram.Failure(description: "\(error) (logs: \(stack.folder))")
            }
            return options.database
        }

        @Test(
            "anomaly-propagation and PostgreSQL are killed at random moments of scoring: anomalies and forecasts are as without",
            .timeLimit(.minutes(10)))
        func kills() async throws {
            let server = try TestCluster.start()
            defer {
                try? server.stopServer()
                server.remove()
            }
            let template = try await Self.fill(server)
            let expected = try await Self.withCopy(of: template, server, settings: [:]) { stack in
                try await Evidence(stack: stack, plan: .usual).concluded()
            }
            // Few of them would prove little.
            try #require(
                expected.anomalies.count >= 3 && expected.forecasts.count >= 100,
                "\(expected.anomalies.count) \(expected.forecasts.count)")
            let kills = ChaosSettings.scoringKills
            // Small rounds, so that there is something to hit.
            try await Self.withCopy(of: template, server, settings: ["WORKER_BATCH": "2"]) { stack in
                var numbers = ChaosNumbers(seed: ChaosSettings.seed)
                let evidence = Evidence(stack: stack, plan: .usual)
                let point = try await HoldPoint.install(evidence, tables: Self.places)
                var (hits, held) = (0, 0)
                for number in 0..<kills {
                    let kill = {
                        if number % 4 == 2 { try await server.crash() } else { try await Self.killProgram(stack) }
                    }
                    let place = Self.places[number / 2 % Self.places.count]
                    if number % 2 == 0, try await point.whileHeld(place, seconds: 4, kill: kill) {
                        held += 1
                    } else {
                        try await Task.sleep(for: .milliseconds(Int.random(in: 20...250, using: &numbers)))
                        let left = try await evidence.unconcluded()
                        if left.shards + left.forecasts > 0 { hits += 1 }
                        try await kill()
                    }
                    if number % 4 != 2 { try stack.startService("anomaly-propagation") }
                    // The worker begins before anybody is let in.
                    try await stack.waitUntilReady("anomaly-propagation")
                }
                let found = try await evidence.concluded()
                #expect(held > 0 && held + hits > 1, "\(held) kills between rows and positions, \(hits) while scoring")
                let isSame = found == expected
                #expect(isSame, "\(expected.difference(to: found))")
                print(
                    "\(kills) kills, \(held) of them in the middle of a transaction, \(hits) at any moment of scoring; \(found.anomalies.count) anomalies, \(found.forecasts.count) forecasts"
                )
            }
        }
    }
}
