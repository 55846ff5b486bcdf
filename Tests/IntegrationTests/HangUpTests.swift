import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import Postgres
import TestSupport
import Testing

extension ProcessTests {
    @Suite("Clients that hang up", .serialized)
    struct HangUpTests {
        /// Far more than it takes (15 ms at most of 160 by `make bench ONLY=deadlines`), far less than the bound of a statement in these tests (2 s).
        private static let patience = Duration.seconds(1)

        @Test("the query of a request ends when its client hangs up, the whole way down", arguments: [true, false])
        func queryEnds(overHTTP2: Bool) async throws {
            let stack = try await Stack.shared()
            let client = Stack.client(caFile: stack.caFile, allowsHTTP2: overHTTP2)
            do {
                let configuration = try PostgresConfiguration(
                    connectionString: stack.databaseURL, pool: .init(minimum: 2, maximum: 2))
                try await PostgresPool.withPool(configuration, logger: .silent) { pool in
                    try await pool.withTransaction { holder in
                        // Holds every query of the route back.
                        try await holder.query("LOCK TABLE anomalies IN ACCESS EXCLUSIVE MODE")
                        try await Self.hangUp(stack, client, pool)
                    }
                }
            } catch {
                try await client.shutdown()
                throw error
            }
            try await client.shutdown()
            // The connections of all services are of use afterwards.
            #expect(try await stack.get("/v1/anomalies?limit=1").status == 200)
        }

        @Test("the query of a request ends with its deadline, the whole way down")
        func queryEndsWithDeadline() async throws {
            let stack = try await Stack.shared()
            let client = Stack.client(caFile: stack.caFile, allowsHTTP2: false)
            do {
                let configuration = try PostgresConfiguration(
                    connectionString: stack.databaseURL, pool: .init(minimum: 2, maximum: 2))
                try await PostgresPool.withPool(configuration, logger: .silent) { pool in
                    try await pool.withTransaction { holder in
                        try await holder.query("LOCK TABLE anomalies IN ACCESS EXCLUSIVE MODE")
                        try await Self.missDeadline(stack, client, pool)
                    }
                }
            } catch {
                try await client.shutdown()
                throw error
            }
            try await client.shutdown()
            #expect(try await stack.get("/v1/anomalies?limit=1").status == 200)
        }

        private nonisolated(nonsending) static func missDeadline(
            _ stack: Stack, _ client: HTTPClient, _ pool: PostgresPool
        ) async throws {
            let deadline = Duration.milliseconds(500)
            let key = try await stack.key(scopes: Stack.allScopes)
            let clock = ContinuousClock()
            let begin = clock.now
            let asked = Task {
                var request = HTTPClientRequest(url: stack.url + "/v1/anomalies?limit=1")
                request.headers.add(name: "X-API-Key", value: key)
                request.headers.add(name: "Cache-Control", value: "no-cache")
                request.headers.add(name: "X-Request-Timeout-Ms", value: "500")
                return try await client.execute(request, timeout: .seconds(30)).status.code
            }
            try await stack.eventually("the query waits", seconds: 10) { try await Self.waiting(pool) > 0 }
            // The bound of a statement alone (2 s in these tests) would be too late.
            while try await Self.waiting(pool) > 0 {
                guard clock.now - begin < .seconds(5) else { break }
                try await Task.sleep(for: .milliseconds(5))
            }
            #expect(clock.now - begin < deadline + Self.patience, "\(clock.now - begin)")
            #expect(try await asked.value == 504)
        }

        private nonisolated(nonsending) static func hangUp(
            _ stack: Stack, _ client: HTTPClient, _ pool: PostgresPool
        ) async throws {
            let key = try await stack.key(scopes: Stack.allScopes)
            let asked = Task {
                var request = HTTPClientRequest(url: stack.url + "/v1/anomalies?limit=1")
                request.headers.add(name: "X-API-Key", value: key)
                request.headers.add(name: "Cache-Control", value: "no-cache")
                _ = try await client.execute(request, timeout: .seconds(30))
            }
            let clock = ContinuousClock()
            try await stack.eventually("the query waits", seconds: 10) { try await Self.waiting(pool) > 0 }
            asked.cancel()
            let begin = clock.now
            while try await Self.waiting(pool) > 0 {
                guard clock.now - begin < .seconds(5) else { break }
                try await Task.sleep(for: .milliseconds(5))
            }
            #expect(clock.now - begin < Self.patience)
            await #expect(throws: (any Error).self) { try await asked.value }
        }

        private nonisolated(nonsending) static func waiting(_ pool: PostgresPool) async throws -> Int64 {
            try await pool.query(
                """
                SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND state = 'active' AND wait_event_type = 'Lock'
                  AND query LIKE '%FROM anomalies a%'
                """
            ).column(Int64.self).first ?? 0
        }
    }
}
