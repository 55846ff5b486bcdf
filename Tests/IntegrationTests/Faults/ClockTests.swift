import Foundation
import Glibc
import Model
import Postgres
import TestSupport
import Testing

extension ProcessTests {
    /// Clocks that jump by an hour, forward and back, while two replicas work. Leases are counted by monotonic clocks on the
    /// holder's side and by one clock, the database's, on the other; the order of data is that of their own times.
    @Suite("Faults: clocks that jump", .serialized)
    struct ClockTrouble {
        private static let replicas = ["graph-builder", "graph-builder-2"]

        /// The wall clock of the programs that were started with ``environment``: a step in a file that their memory shows.
        private struct FakeClock {
            private let file: String
            private let library: String

            init() throws {
                let name = "/tmp/undercurrent-clock-\(UUID().uuidString)"
                (self.file, self.library) = (name, name + ".so")
                let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
                    .deletingLastPathComponent().appending(path: "ClockStep/clock_step.c").path
                // Comes with Swift.
                try ChildProgram.run(
                    ["/usr/bin/env", "clang", "-O1", "-shared", "-fPIC", "-o", self.library, source])
                try self.set(hours: 0)
                for path in [self.file, self.library] { chmod(path, 0o644) }
            }

            /// Written over in one piece: what is mapped must stay the same file.
            func set(hours: Int) throws {
                let file = open(self.file, O_WRONLY | O_CREAT | O_CLOEXEC, 0o644)
                defer { close(file) }
                var seconds = Int64(hours) * 3_600
                guard file >= 0, pwrite(file, &seconds, MemoryLayout<Int64>.size, 0) == MemoryLayout<Int64>.size else {
                    throw RunningProgram.Failure(description: "\(self.file) cannot be written: errno \(errno)")
                }
            }

            var environment: [String: String] { ["LD_PRELOAD": self.library, "CLOCK_STEP_FILE": self.file] }

            func remove() {
                unlink(self.file)
                unlink(self.library)
            }
        }

        /// Seen to fail: with leases believed that seem to last an hour, nobody takes the shards of the replica that died.
        @Test(
            "the database's clock and then that of the whole machine jump by an hour and back: order is kept, one owner at a time",
            .enabled(if: ChaosSettings.isInFull, "takes minutes: make test-faults"),
            .timeLimit(.minutes(8)))
        func jumps() async throws {
            let (databaseClock, serviceClock) = (try FakeClock(), try FakeClock())
            defer {
                databaseClock.remove()
                serviceClock.remove()
            }
            let server = try TestCluster.start(
                environment: databaseClock.environment.map { "\($0.key)=\($0.value)" })
            defer {
                try? server.stopServer()
                server.remove()
            }
            let plan = ObservationPlan.inOrder(batches: 200)
            let expected = try await ChaosRun.undisturbed(plan)
            try await ChaosRun.withStack(plan, replicas: Self.replicas, server: server) { options in
                options.environment = serviceClock.environment
            } _: { stack in
                let evidence = Evidence(stack: stack, plan: plan)
                try await evidence.watchWriters()
                let reader = RevisionReader(evidence)
                async let following: Void = reader.follow()
                let delivery = Delivery(
                    plan, to: stack, .init(window: ObservationPlan.window, pause: .milliseconds(1_200), lasts: true))
                async let sent: Void = delivery.send()
                try await stack.eventually("ingest has begun") { delivery.tally.acknowledged.count > 4 }
                let real = try await evidence.serverHour()
                for (database, services) in [(1, 0), (0, 0), (1, 1), (0, 0), (-1, -1), (0, 0)] {
                    try databaseClock.set(hours: database)
                    try serviceClock.set(hours: services)
                    try await Task.sleep(for: .seconds(4))
                    // Else nothing jumped, and nothing is shown.
                    let hour = try await evidence.serverHour() - real
                    #expect(abs(hour - Double(database)) < 0.1, "the database's clock is off by \(hour) h")
                }
                try await Self.deadOwner(stack, evidence, databaseClock)
                #expect(delivery.finish(), "everything was sent before it was over")
                try await sent
                try await evidence.expectAsUndisturbed(expected, delivery)
                await reader.stop()
                try await following
                let missed = try await reader.missed()
                #expect(missed.isEmpty, "\(missed.count) rows, \(missed.sorted().prefix(3))")
            }
        }

        /// A replica dies and the clock steps back: its leases seem to last an hour, and yet the other takes its shards.
        private static func deadOwner(_ stack: Stack, _ evidence: Evidence, _ clock: FakeClock) async throws {
            try await evidence.shareShards()
            let second = try stack.program("graph-builder-2")
            second.signal(SIGKILL)
            _ = try await second.waitForExit(seconds: 10)
            try clock.set(hours: -1)
            let living = "127.0.0.1:\(stack.ports["graph-builder"]?.http ?? 0)"
            try await stack.eventually("the living replica holds all shards", seconds: 30) {
                try await evidence.shardsByOwner()[living] == Shard.count
            }
            try clock.set(hours: 0)
            try await Task.sleep(for: .seconds(2))
        }
    }
}

extension Evidence {
    /// The server's clock in hours.
    func serverHour() async throws -> Double {
        try await self.connected { connection in
            try await connection.query("SELECT extract(epoch FROM clock_timestamp())::float8 / 3600").column(
                Double.self
            )
            .first ?? 0
        }
    }
}
