import Foundation
import Postgres
import TestSupport
import Testing

extension ProcessTests {
    @Suite("Chaos: a commit that is delayed", .serialized)
    struct DelayedCommit {
        /// Seen to fail: without `xid < pg_snapshot_xmin(pg_current_snapshot())` in `LogTail.next` evaluation goes on past the open
        /// transaction; with a hold that lets it come to its end, the graphs lack the observations for ever.
        @Test("a transaction that wrote the log before others and commits after them is read once it has")
        func heldOpen() async throws {
            let plan = ObservationPlan.usual
            let expected = try await ChaosRun.undisturbed(plan)
            try await ChaosRun.withStack(plan) { stack in
                let evidence = Evidence(stack: stack, plan: plan)
                // The key is the last row of an ingest transaction: it waits there, behind its row of the log.
                try await evidence.script(
                    """
                    CREATE TABLE held (key text);
                    CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                        IF EXISTS (SELECT FROM held WHERE NEW.key LIKE '%' || held.key) THEN
                            PERFORM pg_advisory_xact_lock_shared(4711);
                        END IF;
                        RETURN NEW;
                    END $$;
                    CREATE TRIGGER hold AFTER INSERT ON idempotency_keys FOR EACH ROW EXECUTE FUNCTION hold();
                    """)
                // In the window of the last graphs, so that they depend on it.
                let late = plan.batches - 25
                try await Delivery(plan, batches: [0], to: stack).send()
                try await evidence.connected { lock in
                    try await lock.runScript("SELECT pg_advisory_lock(4711)")
                    try await evidence.script("INSERT INTO held VALUES ('-\(late)')")
                    let held = Delivery(plan, batches: [late], to: stack)
                    async let heldIsSent: Void = held.send()
                    try await stack.eventually("its transaction waits", seconds: 10) {
                        try await !lock.query(
                            "SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted"
                        ).isEmpty
                    }
                    let rest = (1..<plan.batches).filter { $0 != late }
                    try await Delivery(plan, batches: rest, to: stack).send()
                    try await Task.sleep(for: .seconds(ChaosSettings.holdSeconds))
                    #expect(held.tally.acknowledged.isEmpty)
                    // The log is read up to the open transaction and no further: the first batch closes no bucket.
                    #expect(try await evidence.evaluations().isEmpty)
                    try await lock.runScript("SELECT pg_advisory_unlock(4711)")
                    try await heldIsSent
                }
                #expect(try await evidence.settled() == expected.graphs)
                #expect(
                    try await evidence.difference()
                        == Evidence.Difference(missing: 0, unexpected: 0, logged: Int64(plan.rows)))
            }
        }
    }
}
