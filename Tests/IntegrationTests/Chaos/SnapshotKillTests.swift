import Foundation
import Glibc
import Postgres
import TestSupport
import Testing

extension ProcessTests {
    /// Seen to fail: with files written under the final name from the beginning.
    @Suite("Chaos: kills during a snapshot", .serialized)
    struct SnapshotKills {
        /// The command with a folder of its own.
        private struct Place {
            let stack: Stack
            let folder: String

            func start(_ arguments: [String]) throws -> RunningProgram {
                try RunningProgram(
                    "graph-builder", ["snapshot"] + arguments,
                    settings: self.stack.settings("graph-builder", ["SNAPSHOT_DIR": self.folder]),
                    log: "\(self.stack.folder)/snapshot-\(UInt64.random(in: 0 ... .max)).log")
            }

            func run(_ arguments: [String]) async throws -> (code: CInt, output: String) {
                let program = try self.start(arguments)
                return (try await program.waitForExit(seconds: 60), program.output)
            }

            private func names(_ isWanted: (String) -> Bool) -> [String] {
                ((try? FileManager.default.contentsOfDirectory(atPath: self.folder)) ?? []).filter(isWanted).sorted()
            }

            var finished: [String] { self.names { !$0.hasPrefix(".") } }
            var partial: [String] { self.names { $0.hasPrefix(".partial-") } }

            /// Every folder with a final name is whole, as `list` and `verify` tell.
            func expectWhole() async throws {
                let listed = try await self.run(["list", "--output", "json"])
                #expect(listed.code == 0, "\(listed.output)")
                for name in self.finished {
                    #expect(listed.output.contains(name))
                    let verified = try await self.run(["verify", name])
                    #expect(verified.code == 0, "\(name): \(verified.output)")
                }
            }
        }

        @Test(
            "a snapshot that is killed at any moment, or whose server is, leaves nothing under a final name, and the next one is whole",
            .timeLimit(.minutes(10)))
        func kills() async throws {
            let kills = ChaosSettings.snapshotKills
            let plan = ObservationPlan(batches: max(ObservationPlan.usual.batches, kills * 12))
            let expected = try await ChaosRun.undisturbed(plan)
            let server = try TestCluster.start()
            defer {
                try? server.stopServer()
                server.remove()
            }
            try await ChaosRun.withStack(plan, server: server) { stack in
                let place = Place(stack: stack, folder: stack.folder + "/snapshots")
                let delivery = Delivery(plan, to: stack, .init(pause: .milliseconds(400)))
                async let sent: Void = delivery.send()
                try await stack.eventually("graphs are stored") {
                    try await !Evidence(stack: stack, plan: plan).graphs().isEmpty
                }
                let begin = ContinuousClock.now
                let first = try await place.run(["rotate"])
                let whole = begin.duration(to: .now)
                #expect(first.code == 0, "\(first.output)")
                var numbers = ChaosNumbers(seed: ChaosSettings.seed)
                var cutOff = 0
                for number in 0..<kills {
                    let (known, left) = (place.finished, Set(place.partial))
                    // The next run clears what one before left.
                    let isWriting = { !Set(place.partial).subtracting(left).isEmpty }
                    let program = try place.start(["rotate"])
                    if number % 2 == 0 {
                        // While it writes, however fast it is this time.
                        while !isWriting(), program.exitCode() == nil {
                            try await Task.sleep(for: .milliseconds(1))
                        }
                        try await Task.sleep(for: .milliseconds(Int.random(in: 0...10, using: &numbers)))
                    } else {
                        try await Task.sleep(for: whole * Double.random(in: 0.1...1, using: &numbers))
                    }
                    program.signal(SIGKILL)
                    let code = try await program.waitForExit(seconds: 10)
                    if isWriting() { cutOff += 1 }
                    // What it had finished in time is there and whole; else nothing is.
                    if code == 128 + SIGKILL, !place.partial.isEmpty { #expect(place.finished == known) }
                    try await place.expectWhole()
                }
                #expect(cutOff > 0, "none of \(kills) kills hit a snapshot being written within \(whole)")
                try await Self.crash(server, stack, place)
                let last = try await place.run(["rotate"])
                #expect(last.code == 0, "\(last.output)")
                #expect(place.partial.isEmpty)
                try await place.expectWhole()
                let rehearsed = try await place.run(["restore", "latest", "--rehearse"])
                #expect(rehearsed.code == 0, "\(rehearsed.output)")
                try await sent
                #expect(delivery.tally.violations.isEmpty, "\(delivery.tally.violations.prefix(5))")
                let evidence = Evidence(stack: stack, plan: plan)
                #expect(
                    try await evidence.difference()
                        == Evidence.Difference(missing: 0, unexpected: 0, logged: Int64(plan.rows)))
                #expect(try await evidence.settled(seconds: 300) == expected.graphs)
                print("\(kills) snapshots killed, \(cutOff) of them while files were being written")
            }
        }

        /// All processes of the server are killed while the snapshot copies.
        private static func crash(_ server: TestCluster, _ stack: Stack, _ place: Place) async throws {
            let evidence = Evidence(stack: stack, plan: .usual)
            let known = place.finished
            let program = try await evidence.connected { blocker in
                try await blocker.begin()
                try await blocker.query("LOCK TABLE forecasts IN ACCESS EXCLUSIVE MODE")
                let program = try place.start(["rotate"])
                // It has copied some tables and waits at this one. Not asked by the blocker: within its transaction it would see
                // the same activity again and again.
                try await stack.eventually("the snapshot waits") {
                    try await evidence.connected { connection in
                        try await connection.query(
                            """
                            SELECT count(*) FROM pg_stat_activity
                            WHERE wait_event_type = 'Lock' AND query LIKE '%COPY%forecasts%'
                            """
                        ).column(Int.self) == [1]
                    }
                }
                #expect(place.partial.count == 1)
                try await server.crash()
                return program
            }
            let code = try await program.waitForExit(seconds: 60)
            #expect(code == 69, "\(program.output)")
            #expect(place.finished == known && place.partial.isEmpty)
            try await place.expectWhole()
        }
    }
}
