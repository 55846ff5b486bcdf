import Foundation
import Testing

extension ProcessTests {
    @Suite("Metrics of running services")
    struct MetricsTests {
        @Test(
            "each service tells of its connections to the database",
            arguments: ["gateway", "graph-builder", "anomaly-propagation"])
        func pool(service: String) async throws {
            let stack = try await Stack.shared()
            _ = try await stack.get("/v1/domains")
            _ = try await stack.get("/v1/anomalies")
            let values = try await Self.values(of: service, on: stack)
            for name in ["in_use", "idle"].map({ "database_pool_connections_\($0)" }) + ["database_pool_waiters"] {
                #expect((0...8).contains(try #require(values[name], "\(name)")))
            }
            #expect(try #require(values["database_pool_wait_seconds_count"]) > 0)
            #expect(values["database_pool_timeouts_total"] == 0 && values["database_pool_refusals_total"] == 0)
            #expect(try #require(values["database_pool_connects_total{outcome=\"ok\"}"]) >= 1)
        }

        /// The lines of `/metrics` by what stands before their value.
        private static func values(of service: String, on stack: Stack) async throws -> [String: Double] {
            let port = try #require(stack.ports[service]).metrics
            let text = try await stack.call("GET", "http://127.0.0.1:\(port)/metrics", key: nil).text
            return text.split(separator: "\n").reduce(into: [:]) { values, line in
                let parts = line.split(separator: " ")
                if parts.count == 2, let value = Double(parts[1]) { values[String(parts[0])] = value }
            }
        }
    }
}
