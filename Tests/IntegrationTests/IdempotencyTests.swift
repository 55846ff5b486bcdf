import Foundation
import Model
import Postgres
import Testing

extension ProcessTests {
    @Suite("Idempotency keys")
    struct Idempotency {
        @Test("the same key and payload gets the first answer again; another payload is 422")
        func replayAndMismatch() async throws {
            let stack = try await Stack.shared()
            let (event, key) = (ProcessTests.event(), UUID().uuidString)
            let lines = [Stack.line(event: event, time: ProcessTests.origin, value: 1)]
            let first = try await stack.observe(lines, idempotencyKey: key)
            #expect(first.status == 200 && first.header("idempotency-replayed") == nil)
            let again = try await stack.observe(lines, idempotencyKey: key)
            #expect(again.status == 200 && again.header("idempotency-replayed") == "true")
            #expect(again.body == first.body)
            let other = try await stack.observe(
                [Stack.line(event: event, time: ProcessTests.origin, value: 2)], idempotencyKey: key)
            #expect(other.status == 422 && other.problem?.code == .idempotencyMismatch, "\(other.text)")
        }

        @Test("a key that is still in flight is 409, and afterwards works")
        func inFlight() async throws {
            let stack = try await Stack.shared()
            let key = UUID().uuidString
            let lines = [Stack.line(event: ProcessTests.event(), time: ProcessTests.origin, value: 1)]
            #expect(
                try await stack.observe([Stack.line(event: "warm", time: ProcessTests.origin, value: 1)]).status == 200)
            let lock = try await PostgresConnection.connect(
                try PostgresConfiguration(connectionString: stack.databaseURL))
            // Holds every writer of observations in the middle of its transaction.
            try await lock.runScript("BEGIN; LOCK TABLE observations IN EXCLUSIVE MODE")
            async let first = stack.observe(lines, idempotencyKey: key)
            try await stack.eventually("the first request waits for the table", seconds: 10) {
                try await !lock.query("SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'relation'").isEmpty
            }
            // At once, not after the first is through: it cannot go on before the lock is gone.
            let second = try await stack.observe(lines, idempotencyKey: key)
            try await lock.runScript("ROLLBACK")
            await lock.close()
            #expect(second.status == 409 && second.problem?.code == .idempotencyInFlight, "\(second.text)")
            #expect(try await first.status == 200)
            let third = try await stack.observe(lines, idempotencyKey: key)
            #expect(third.status == 200 && third.header("idempotency-replayed") == "true")
        }

        @Test(
            "a key with control characters or of 256 characters is refused",
            arguments: [String(repeating: "k", count: 256), "a\tb"])
        func badKey(key: String) async throws {
            let stack = try await Stack.shared()
            let reply = try await stack.observe(
                [Stack.line(event: "e", time: ProcessTests.origin, value: 1)], idempotencyKey: key)
            #expect(reply.status == 400, "\(reply.text)")
        }
    }
}
