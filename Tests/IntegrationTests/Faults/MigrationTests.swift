import Foundation
import Glibc
import Model
import Postgres
import Synchronization
import TestSupport
import Testing

extension ProcessTests {
    /// Programs that know schema N and programs that know N + 1 (`NEXT_MIGRATION_FILE`, which only debug builds read), side by side
    /// on one database while clients send and read. `FORMER_BIN=FOLDER`: those of schema N are programs of an earlier release, of
    /// the same engine version; else they are of this build.
    ///
    /// Seen to fail: with a `lockTimeout` of 10 s in `Migrator` reads are refused while a transaction is open; without
    /// `AfterMigration` new programs take shards before their schema is there.
    @Suite("Faults: a migration under load", .serialized)
    struct MigrationTrouble {
        private static let older = ["graph-builder", "anomaly-propagation"]
        private static let newer = ["graph-builder-2", "anomaly-propagation-2"]

        /// Adds to a table that programs write, to two they read, and one of its own.
        private static let next = """
            ALTER TABLE evaluations ADD COLUMN made_by text DEFAULT current_setting('application_name');
            ALTER TABLE anomalies ADD COLUMN of_the_next_release bigint DEFAULT 0;
            ALTER TABLE nodes ADD COLUMN of_the_next_release text;
            CREATE TABLE of_the_next_release (id bigint PRIMARY KEY, note text NOT NULL);
            """
        private static let failing = """
            CREATE TABLE half_done (n integer);
            ALTER TABLE evaluations ADD COLUMN half_done integer DEFAULT 1;
            ALTER TABLE anomalies DROP COLUMN values;
            DELETE FROM nodes;
            SELECT 1 / (SELECT count(*) FROM nodes);
            """

        /// Clients that read without a pause and keep what was refused.
        private final class Readers: Sendable {
            private struct Seen {
                var answered = 0
                var refused: [String] = []
                var slowest = Duration.zero
            }

            private static let paths = [
                "/v1/domains", "/v1/events?limit=5", "/v1/anomalies?limit=2", "/v1/forecasts?limit=2",
                "/v1/correlation-graph?eventId=fast-one",
            ]
            private let stack: Stack
            private let seen = Mutex(Seen())
            private let isOver = Atomic<Bool>(false)

            init(_ stack: Stack) { self.stack = stack }

            var text: String {
                self.seen.withLock { "\($0.answered) reads, the slowest \($0.slowest), \($0.refused.count) refused" }
            }
            var answered: Int { self.seen.withLock { $0.answered } }
            var refused: [String] { self.seen.withLock { $0.refused } }

            func stop() { self.isOver.store(true, ordering: .relaxed) }

            func read() async throws {
                let key = try await self.stack.key(scopes: Stack.allScopes)
                await withDiscardingTaskGroup { group in
                    for worker in 0..<4 { group.addTask { await self.read(key, from: worker) } }
                }
            }

            private func read(_ key: String, from first: Int) async {
                var turn = first
                while !self.isOver.load(ordering: .relaxed) {
                    let path = Self.paths[turn % Self.paths.count]
                    turn += 1
                    let began = ContinuousClock.now
                    let reply = try? await self.stack.call("GET", path, key: key)
                    self.seen.withLock { seen in
                        seen.answered += 1
                        seen.slowest = max(seen.slowest, began.duration(to: .now))
                        if reply?.status != 200 {
                            seen.refused.append("\(path): \(reply?.status ?? 0) \(reply?.text.prefix(200) ?? "")")
                        }
                    }
                    try? await Task.sleep(for: .milliseconds(5))
                }
            }
        }

        /// Every column and index, and what was migrated; not the partitions, which come with the data.
        private static func schema(_ evidence: Evidence) async throws -> [String] {
            try await evidence.connected { connection in
                try await connection.query(
                    """
                    SELECT concat_ws(' ', table_name, column_name, data_type, column_default) FROM information_schema.columns
                    WHERE table_schema = 'public' AND table_name !~ '_[0-9]{8}$'
                    UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename !~ '_[0-9]{8}$'
                    UNION ALL SELECT concat_ws(' ', number, checksum) FROM schema_migrations
                    ORDER BY 1
                    """
                ).column(String.self)
            }
        }

        @Test(
            "programs of schema N and N + 1 serve and ingest while it migrates, after one that failed: nothing refused, lost or doubled",
            .timeLimit(.minutes(5)))
        func oldAndNew() async throws {
            let plan = ObservationPlan.inOrder(batches: 200)
            let expected = try await ChaosRun.undisturbed(plan)
            let file = NSTemporaryDirectory() + "next-\(UUID().uuidString).sql"
            defer { unlink(file) }
            try Self.failing.write(toFile: file, atomically: true, encoding: .utf8)
            try await ChaosRun.withStack(plan) { options in
                options.programs = Self.older + Self.newer + ["gateway"]
                options.started = Self.older + ["gateway"]
                options.settings.merge([
                    "RATE_LIMITER_TOKENS": "1000000", "RATE_LIMITER_REFILL_RATE": "1000000",
                    "SHUTDOWN_DRAIN_SECONDS": "2",
                ]) { $1 }
                for name in Self.newer { options.settingsOf[name] = ["NEXT_MIGRATION_FILE": file] }
                if let former = ProcessInfo.processInfo.environment["FORMER_BIN"] {
                    for name in Self.older { options.folderOf[name] = former }
                }
            } _: { stack in
                let evidence = Evidence(stack: stack, plan: plan)
                try await evidence.watchWriters()
                let delivery = Delivery(
                    plan, to: stack, .init(window: ObservationPlan.window, pause: .milliseconds(2_200), lasts: true))
                async let sent: Void = delivery.send()
                try await stack.eventually("graphs are there", seconds: 60) {
                    try await evidence.graphs().count == plan.events
                }
                let readers = Readers(stack)
                async let reading: Void = readers.read()
                try await Self.failedMigration(stack, evidence, file)
                try await Self.newPrograms(stack, evidence)
                try Self.next.write(toFile: file, atomically: true, encoding: .utf8)
                try await Self.migration(stack, evidence, file)
                try await Self.sideBySide(stack, evidence)
                #expect(delivery.finish(), "everything was sent before it was over")
                try await sent
                readers.stop()
                try await reading
                print("migration under load: \(readers.text); \(delivery.tally.refusals) of writes")
                #expect(
                    readers.answered > 100 && readers.refused.isEmpty, "\(readers.text): \(readers.refused.prefix(3))")
                #expect(delivery.tally.refusals.isEmpty, "\(delivery.tally.refusals)")
                try await evidence.expectAsUndisturbed(expected, delivery)
                let makers = try await evidence.connected { connection in
                    try await connection.query(
                        "SELECT DISTINCT made_by FROM evaluations WHERE made_by LIKE 'graph%' ORDER BY 1"
                    )
                    .column(String.self)
                }
                #expect(makers == ["graph-builder", "graph-builder-2"], "not both wrote on the new schema")
            }
        }

        /// Fails in its last statement: nothing of it is left.
        private static func failedMigration(_ stack: Stack, _ evidence: Evidence, _ file: String) async throws {
            let before = try await Self.schema(evidence)
            try await stack.runToEnd("graph-builder", ["migrate"], ["NEXT_MIGRATION_FILE": file], expecting: 1)
            #expect(try await Self.schema(evidence) == before)
        }

        /// Programs whose schema is not there yet wait, and take nothing from those whose is.
        private static func newPrograms(_ stack: Stack, _ evidence: Evidence) async throws {
            for name in Self.newer { try stack.startService(name) }
            for name in Self.newer {
                let url = "http://127.0.0.1:\(stack.ports[name]?.http ?? 0)/readyz"
                try await stack.eventually("\(name) says what it waits for") {
                    let reply = try await stack.call("GET", url, key: nil)
                    return reply.status == 503 && reply.text.contains("schema")
                }
            }
            try await Task.sleep(for: .seconds(3))
            let owner = "127.0.0.1:\(stack.ports["graph-builder"]?.http ?? 0)"
            #expect(try await evidence.shardsByOwner() == [owner: Shard.count])
        }

        /// The migration waits for a transaction that reads two of its tables, and nobody waits for the migration.
        private static func migration(_ stack: Stack, _ evidence: Evidence, _ file: String) async throws {
            let migrating = try await evidence.connected { reader in
                try await reader.begin()
                try await reader.query("SELECT (SELECT count(*) FROM anomalies), (SELECT count(*) FROM nodes)")
                let migrating = try RunningProgram(
                    "graph-builder", ["migrate"],
                    settings: stack.settings("graph-builder", ["NEXT_MIGRATION_FILE": file]),
                    log: stack.folder + "/migrate.log")
                try await Task.sleep(for: .seconds(5))
                #expect(migrating.exitCode() == nil, "it did not wait: \(migrating.output)")
                try await reader.commit()
                return migrating
            }
            #expect(try await migrating.waitForExit(seconds: 60) == 0, "\(migrating.output)")
            for name in Self.newer { try await stack.waitUntilReady(name) }
        }

        /// Both work, an old program can be started on the new schema, and new ones can be taken away again.
        private static func sideBySide(_ stack: Stack, _ evidence: Evidence) async throws {
            try await evidence.shareShards()
            for name in Self.older {
                try stack.program(name).signal(SIGTERM)
                #expect(try await stack.program(name).waitForExit(seconds: 40) == 0)
                try stack.startService(name)
                try await stack.waitUntilReady(name)
            }
            for name in Self.newer {
                try stack.program(name).signal(SIGTERM)
                #expect(try await stack.program(name).waitForExit(seconds: 40) == 0)
            }
        }
    }
}
