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
        private static let library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
        private static let replicas = ["graph-builder", "graph-builder-2"]
        static let isPossible = FileManager.default.isReadableFile(atPath: Self.library)

        /// Clocks of the programs that were started with ``environment``: an offset in a file they look at again and again.
        private struct FakeClock {
            let file: String

            init() throws {
                self.file = "/tmp/undercurrent-clock-\(UUID().uuidString)"
                try self.set(hours: 0)
                chmod(self.file, 0o644)
            }

            func set(hours: Int) throws {
                try "\(hours < 0 ? "-" : "+")\(abs(hours))h\n".write(
                    toFile: self.file, atomically: false, encoding: .utf8)
            }

            var environment: [String: String] {
                [
                    "LD_PRELOAD": ClockTrouble.library, "FAKETIME_TIMESTAMP_FILE": self.file, "FAKETIME_NO_CACHE": "1",
                    "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1",
                ]
            }

            func remove() { unlink(self.file) }
        }

        @Test(
            "the database's clock and then that of the whole machine jump by an hour and back: order is kept, one owner at a time",
            .enabled(if: isPossible, "needs the package faketime"),
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
            let plan = ObservationPlan(batches: 160, latenessMs: 120_000)
            let expected = try await ChaosRun.undisturbed(plan)
            try await ChaosRun.withStack(plan, replicas: Self.replicas, server: server) { options in
                // Under the library programs see no arguments; without any they serve.
                options.environment = serviceClock.environment
            } _: { stack in
                let evidence = Evidence(stack: stack, plan: plan)
                try await evidence.watchWriters()
                let reader = RevisionReader(evidence)
                async let following: Void = reader.follow()
                let delivery = Delivery(plan, to: stack, .init(window: 8, pause: .milliseconds(1_200)))
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
            try await stack.eventually("both replicas hold shards", seconds: 60) {
                try await evidence.shardsByOwner().values.filter { $0 >= 20 }.count == 2
            }
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
