import Foundation
import Model
import Postgres
import Testing

/// What a run left behind, to be compared with what was sent and with a run that nobody disturbed.
struct Evidence {
    /// Rows of one side that the other lacks, duplicates counted.
    struct Difference: Hashable {
        var missing: Int64
        var unexpected: Int64
        /// Observations the log names; readers follow it, so it must name each of them once.
        var logged: Int64
    }

    private struct Page: Decodable { var items: [Standing] }

    /// What the public API says of a domain.
    struct Standing: Decodable {
        var domain: String
        var pendingBuckets: Int
        var waitingBuckets: Int
    }

    let stack: Stack
    let plan: ObservationPlan

    /// Runs `body` on a connection of its own: others may have been killed.
    func connected<Result>(_ body: (PostgresConnection) async throws -> Result) async throws -> Result {
        let connection = try await PostgresConnection.connect(
            try PostgresConfiguration(
                connectionString: self.stack.databaseURL, applicationName: "evidence", statementTimeout: nil))
        do {
            let result = try await body(connection)
            await connection.close()
            return result
        } catch {
            await connection.close()
            throw error
        }
    }

    func script(_ text: String) async throws {
        try await self.connected { try await $0.runScript(PostgresStatement(composed: text)) }
    }

    // MARK: Observations

    /// Row by row: what the plan holds against what is stored.
    func difference() async throws -> Difference {
        try await self.connected { connection in
            try await connection.runScript(
                "DROP TABLE IF EXISTS sent; CREATE UNLOGGED TABLE sent (LIKE observations)")
            let rows = self.plan.rows
            try await connection.copyIn("COPY sent FROM STDIN (FORMAT binary)") { (writer) throws(PostgresError) in
                for index in 0..<rows {
                    let observation = ObservationPlan.observation(index)
                    try writer.beginRow(columns: 4)
                    writer.int16(Int16(Shard(event: observation.node.event).rawValue))
                    writer.int64(observation.node.id.rawValue)
                    writer.timestamp(observation.time)
                    writer.double(observation.value)
                }
            }
            let found = try await connection.query(
                """
                SELECT (SELECT count(*) FROM (TABLE sent EXCEPT ALL TABLE observations) m),
                       (SELECT count(*) FROM (TABLE observations EXCEPT ALL TABLE sent) u),
                       (SELECT coalesce(sum(row_count), 0)::bigint FROM ingest_log)
                """)
            let (missing, unexpected, logged) = try #require(found.first).decode((Int64, Int64, Int64).self)
            return Difference(missing: missing, unexpected: unexpected, logged: logged)
        }
    }

    /// Stored answers that no transaction with a row of the log brought. A crash between the two would double observations,
    /// or lose what was acknowledged; one kill in many hits that moment.
    func answersApart() async throws -> Int64? {
        try await self.connected { connection in
            try await connection.query(
                """
                SELECT count(*) FROM idempotency_keys k WHERE NOT EXISTS (
                    SELECT FROM ingest_log l WHERE l.xid::text::bigint & 4294967295 = k.xmin::text::bigint)
                """
            ).column(Int64.self).first
        }
    }

    // MARK: Graphs

    func standings() async throws -> [Standing] {
        try await self.stack.get("/v1/domains").json(Page.self).items
    }

    /// Id and window end of every stored graph, by event.
    func graphs() async throws -> [String: String] {
        try await self.connected { connection in
            var graphs: [String: String] = [:]
            for row in try await connection.query("SELECT event_id, graph_id, window_end FROM event_graphs") {
                let (event, id, end) = try row.decode((String, String, Timestamp).self)
                graphs[event] = "\(id) \(end.milliseconds)"
            }
            return graphs
        }
    }

    /// Waits until the public API says that nothing is left to evaluate, and graphs stay as they are.
    func settled(seconds: Double = 120) async throws -> [String: String] {
        var last: (graphs: [String: String], since: ContinuousClock.Instant)?
        try await self.stack.eventually("everything is evaluated", seconds: seconds) {
            let domains = try await self.standings()
            let graphs = try await self.graphs()
            guard domains.count == ObservationPlan.bucketMs.count, graphs.count == self.plan.events,
                domains.allSatisfy({ $0.pendingBuckets + $0.waitingBuckets == 0 })
            else {
                last = nil
                throw RunningProgram.Failure(description: "\(domains), \(graphs.count) graphs")
            }
            if last?.graphs != graphs { last = (graphs, .now) }
            return ContinuousClock.now - (last?.since ?? .now) > .milliseconds(1_500)
        }
        return last?.graphs ?? [:]
    }

    // MARK: Evaluations

    /// Every evaluation there is: shard, domain, window end.
    func evaluations() async throws -> Set<String> {
        try await self.connected { connection in
            Set(
                try await connection.query(
                    "SELECT shard || ' ' || domain || ' ' || window_end FROM evaluations"
                ).column(String.self))
        }
    }

    /// Has the database note who writes evaluations, findings and graphs, whether the row is new or not, and whom the shard
    /// belongs to at that moment. A transaction that is undone leaves no note.
    func watchWriters() async throws {
        let addresses = self.stack.ports.map { "WHEN '\($0.key)' THEN '127.0.0.1:\($0.value.http)'" }.sorted()
        var text = """
            CREATE TABLE writes (place text, what text, writer text, owner text, epoch bigint, xid xid8);
            CREATE FUNCTION note_write() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                INSERT INTO writes SELECT TG_TABLE_NAME, NEW.shard || ' ' || CASE TG_TABLE_NAME
                    WHEN 'evaluations' THEN to_jsonb(NEW)->>'domain' ELSE to_jsonb(NEW)->>'event_id' END
                    || ' ' || NEW.window_end,
                    CASE current_setting('application_name') \(addresses.joined(separator: " ")) END,
                    owner_address, epoch, pg_current_xact_id() FROM shard_leases WHERE shard = NEW.shard;
                RETURN NEW;
            END $$;
            """
        for table in ["evaluations", "findings", "event_graphs"] {
            text += "CREATE TRIGGER note BEFORE INSERT ON \(table) FOR EACH ROW EXECUTE FUNCTION note_write();"
        }
        try await self.script(text)
    }

    /// Numbers about what ``watchWriters()`` noted.
    struct Writers: Equatable {
        var noted: Int64
        /// By somebody who did not own the shard.
        var foreign: Int64
        /// Evaluations that were written more than once.
        var repeated: Int64
    }

    func writers() async throws -> Writers {
        try await self.connected { connection in
            let rows = try await connection.query(
                """
                SELECT count(*), count(*) FILTER (WHERE writer IS DISTINCT FROM owner),
                       (SELECT count(*) FROM (SELECT what FROM writes WHERE place = 'evaluations'
                                              GROUP BY what HAVING count(*) > 1) r)
                FROM writes
                """)
            let (noted, foreign, repeated) = try #require(rows.first).decode((Int64, Int64, Int64).self)
            return Writers(noted: noted, foreign: foreign, repeated: repeated)
        }
    }
}

extension Evidence {
    /// Holds after trouble with the owners of shards: everything acknowledged is there once, every evaluation and graph is as without
    /// trouble, and each was written by whoever owned its shard then. Needs ``watchWriters()`` from before the trouble.
    func expectAsUndisturbed(
        _ expected: ChaosRun.Outcome, _ delivery: Delivery, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        #expect(
            delivery.tally.violations.isEmpty, "\(delivery.tally.violations.prefix(5))", sourceLocation: sourceLocation)
        #expect(try await self.settled(seconds: 180) == expected.graphs, sourceLocation: sourceLocation)
        #expect(
            try await self.difference() == Difference(missing: 0, unexpected: 0, logged: Int64(self.plan.rows)),
            sourceLocation: sourceLocation)
        let writers = try await self.writers()
        #expect(
            writers == Writers(noted: writers.noted, foreign: 0, repeated: 0), sourceLocation: sourceLocation)
        try await self.expectSameConclusions(expected, sourceLocation: sourceLocation)
    }

    /// Holds for plans whose data come in order.
    func expectSameConclusions(
        _ expected: ChaosRun.Outcome, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let wanted = try #require(expected.conclusions, "data that come late make no comparison")
        let evaluations = try await self.evaluations()
        let skipped = expected.evaluations.subtracting(evaluations)
        let isEach = evaluations == expected.evaluations
        #expect(
            isEach,
            "\(skipped.count) of \(expected.evaluations.count) evaluations are missing: \(skipped.sorted().prefix(3))",
            sourceLocation: sourceLocation)
        let found = try await self.concluded()
        // As one value: the rows themselves would fill the log.
        let isSame = found == wanted
        #expect(isSame, "\(wanted.difference(to: found))", sourceLocation: sourceLocation)
        print("compared with an undisturbed run: \(wanted.difference(to: found))")
    }

    /// Waits until two replicas hold half of the shards each, more or less.
    func shareShards() async throws {
        try await self.stack.eventually("both replicas hold shards", seconds: 60) {
            try await self.shardsByOwner().values.filter { $0 >= 20 }.count == 2
        }
    }
}
