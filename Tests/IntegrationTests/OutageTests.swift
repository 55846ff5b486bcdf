import Foundation
import Model
import TestSupport
import Testing

extension ProcessTests {
    @Suite("Outage of the database", .serialized)
    struct OutageTests {
        @Test("while the database is away writes are 503 with retryAfter; once it is back they pass without a restart")
        func databaseAway() async throws {
            let stack = try await Stack.shared()
            let event = ProcessTests.event("outage")
            let before = try await stack.observe([Stack.line(event: event, time: ProcessTests.origin, value: 1)])
            #expect(before.status == 200)
            let processes = try Stack.serviceNames.map { try stack.program($0).process }
            try stack.cluster.stopServer(immediately: true)
            do {
                for index in 0..<3 {
                    let reply = try await stack.observe(
                        [Stack.line(event: event, time: ProcessTests.origin + 1_000 + Int64(index), value: 2)])
                    #expect(reply.status == 503, "\(reply.status) \(reply.text)")
                    #expect(reply.problem?.retryAfter != nil && reply.header("retry-after") != nil)
                }
                // What memory does not hold cannot be read either, from neither service.
                for path in ["/v1/events", "/v1/domains", "/v1/anomalies", "/v1/forecasts", "/v1/topology?name=any"] {
                    let reply = try await stack.get(path)
                    #expect(reply.status == 503, "\(path): \(reply.status) \(reply.text)")
                    #expect(reply.problem?.retryAfter != nil && reply.header("retry-after") != nil, "\(path)")
                }
                #expect(try await stack.call("GET", "/livez", key: nil).status == 200)
            } catch {
                try stack.cluster.startServer()
                throw error
            }
            try stack.cluster.startServer()
            try await stack.eventually("writes pass again", seconds: 60) {
                try await stack.observe([Stack.line(event: event, time: ProcessTests.origin + 2_000, value: 3)]).status
                    == 200
            }
            for path in ["/v1/events", "/v1/domains", "/v1/anomalies", "/v1/forecasts"] {
                try await stack.eventually("\(path) is read again", seconds: 60) {
                    try await stack.get(path).status == 200
                }
            }
            // What was acknowledged before is still there.
            let known = try await stack.observe([Stack.line(event: event, time: ProcessTests.origin, value: 1)])
            #expect(try known.json(Receipt.self).duplicates == 1)
            #expect(try Stack.serviceNames.map { try stack.program($0).process } == processes)
            for name in Stack.serviceNames {
                #expect(try stack.program(name).exitCode() == nil, "\(name) has ended")
                try await stack.waitUntilReady(name)
            }
        }
    }
}
