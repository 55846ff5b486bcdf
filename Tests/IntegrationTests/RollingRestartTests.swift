import AsyncHTTPClient
import Foundation
import Glibc
import NIOCore
import NIOHTTP1
import NIOSSL
import Synchronization
import TestSupport
import Testing

extension ProcessTests {
    /// Two gateways are restarted in turn while clients ask without a pause, over connections that they keep.
    @Suite("Rolling restart of the gateway", .serialized)
    struct RollingRestartTests {
        /// What clients saw.
        private struct Tally {
            var answered = 0
            var lost: [String] = []
        }

        private final class Clients: Sendable {
            let tally = Mutex(Tally())
            let isOver = Atomic<Bool>(false)
            /// As a load balancer that asks /readyz: which gateway takes requests; 2: both.
            let chosen = Atomic<Int>(2)
        }

        @Test("no request is lost over HTTP/1.1")
        func restart() async throws {
            let stack = try await Stack.shared()
            let key = try await stack.key(scopes: "read", ["--expires-days", "3"])
            let gateways = try (0..<2).map { _ in
                Stack.Ports(http: try FreePort.find(), metrics: try FreePort.find())
            }
            func start(_ index: Int) async throws -> RunningProgram {
                let ports = gateways[index]
                let program = try RunningProgram(
                    "gateway", ["serve"],
                    settings: stack.settings(
                        "gateway",
                        [
                            "HTTP_PORT": "\(ports.http)", "METRICS_PORT": "\(ports.metrics)",
                            "SHUTDOWN_DRAIN_SECONDS": "2", "RATE_LIMITER_TOKENS": "1000000",
                            "RATE_LIMITER_REFILL_RATE": "1000000",
                        ]), log: "\(stack.folder)/rolling-\(index).log")
                try await stack.eventually("gateway \(index) is ready", seconds: 60) {
                    try await stack.call("GET", "https://localhost:\(ports.http)/readyz", key: nil).status == 200
                }
                return program
            }
            var programs = [try await start(0), try await start(1)]
            defer { for program in programs { program.signal(SIGTERM) } }
            var configuration = HTTPClient.Configuration(redirectConfiguration: .disallow)
            var tls = TLSConfiguration.makeClientConfiguration()
            tls.trustRoots = .file(stack.caFile)
            configuration.tlsConfiguration = tls
            configuration.httpVersion = .http1Only
            configuration.connectionPool.retryConnectionEstablishment = false
            let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
            let clients = Clients()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for worker in 0..<8 {
                    group.addTask {
                        while !clients.isOver.load(ordering: .relaxed) {
                            let target = clients.chosen.load(ordering: .relaxed)
                            let index = target < 2 ? target : worker % 2
                            var request = HTTPClientRequest(
                                url: "https://localhost:\(gateways[index].http)/v1/domains")
                            request.headers.add(name: "X-API-Key", value: key)
                            do {
                                let response = try await client.execute(request, timeout: .seconds(20))
                                _ = try await response.body.collect(upTo: 1 << 20)
                                clients.tally.withLock {
                                    $0.answered += 1
                                    if response.status != .ok { $0.lost.append("\(response.status.code)") }
                                }
                            } catch {
                                clients.tally.withLock { $0.lost.append("\(error)") }
                            }
                        }
                    }
                }
                for round in 0..<4 {
                    let index = round % 2
                    clients.chosen.store(2, ordering: .relaxed)
                    try await Task.sleep(for: .seconds(1))
                    programs[index].signal(SIGTERM)
                    // The balancer takes a moment to notice.
                    try await Task.sleep(for: .milliseconds(700))
                    clients.chosen.store(1 - index, ordering: .relaxed)
                    #expect(try await programs[index].waitForExit(seconds: 30) == 0)
                    programs[index] = try await start(index)
                }
                clients.isOver.store(true, ordering: .relaxed)
                try await group.waitForAll()
            }
            try await client.shutdown()
            let seen = clients.tally.withLock { $0 }
            #expect(seen.answered > 1_000)
            #expect(seen.lost.isEmpty, "\(seen.lost.count) of \(seen.answered): \(seen.lost.prefix(5))")
        }
    }
}
