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
    /// Programs are restarted in turn while clients ask without a pause, over connections that they keep. `RESTART_REQUESTS`
    /// (1,000) is how many answers there must be at least; rounds go on until then.
    @Suite("Rolling restarts under load", .serialized)
    struct RollingRestartTests {
        private static let wanted =
            ProcessInfo.processInfo.environment["RESTART_REQUESTS"].flatMap { Int($0) } ?? 1_000

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

            var answered: Int { self.tally.withLock { $0.answered } }

            /// Asks until it is over.
            func ask(_ client: HTTPClient, key: String, _ url: @Sendable (_ turn: Int) -> String) async {
                var turn = 0
                while !self.isOver.load(ordering: .relaxed) {
                    var request = HTTPClientRequest(url: url(turn))
                    turn += 1
                    request.headers.add(name: "X-API-Key", value: key)
                    do {
                        let response = try await client.execute(request, timeout: .seconds(20))
                        let body = try await response.body.collect(upTo: 1 << 20)
                        self.tally.withLock {
                            $0.answered += 1
                            if response.status != .ok {
                                $0.lost.append("\(response.status.code) \(String(buffer: body))")
                            }
                        }
                    } catch {
                        self.tally.withLock { $0.lost.append("\(error)") }
                    }
                }
            }

            func expectNothingLost() {
                let seen = self.tally.withLock { $0 }
                #expect(seen.answered >= RollingRestartTests.wanted)
                #expect(seen.lost.isEmpty, "\(seen.lost.count) of \(seen.answered): \(seen.lost.prefix(5))")
            }
        }

        private static func client(_ stack: Stack) -> HTTPClient {
            var configuration = HTTPClient.Configuration(redirectConfiguration: .disallow)
            var tls = TLSConfiguration.makeClientConfiguration()
            tls.trustRoots = .file(stack.caFile)
            configuration.tlsConfiguration = tls
            configuration.httpVersion = .http1Only
            configuration.connectionPool.retryConnectionEstablishment = false
            return HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
        }

        private static let generous = ["RATE_LIMITER_TOKENS": "1000000", "RATE_LIMITER_REFILL_RATE": "1000000"]

        @Test("no request is lost over HTTP/1.1 while gateways are restarted")
        func gateways() async throws {
            let stack = try await Stack.shared()
            let key = try await stack.key(scopes: "read", ["--expires-days", "3"])
            let gateways = try (0..<2).map { _ in
                Stack.Ports(http: try FreePort.find(), metrics: try FreePort.find())
            }
            func start(_ index: Int) async throws -> RunningProgram {
                let ports = gateways[index]
                let own = [
                    "HTTP_PORT": "\(ports.http)", "METRICS_PORT": "\(ports.metrics)", "SHUTDOWN_DRAIN_SECONDS": "2",
                ]
                let program = try RunningProgram(
                    "gateway", ["serve"], settings: stack.settings("gateway", own.merging(Self.generous) { $1 }),
                    log: "\(stack.folder)/rolling-\(index).log")
                try await stack.eventually("gateway \(index) is ready", seconds: 60) {
                    try await stack.call("GET", "https://localhost:\(ports.http)/readyz", key: nil).status == 200
                }
                return program
            }
            var programs = [try await start(0), try await start(1)]
            defer { for program in programs { program.signal(SIGTERM) } }
            let client = Self.client(stack)
            let clients = Clients()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for worker in 0..<8 {
                    group.addTask {
                        await clients.ask(client, key: key) { _ in
                            let target = clients.chosen.load(ordering: .relaxed)
                            return "https://localhost:\(gateways[target < 2 ? target : worker % 2].http)/v1/domains"
                        }
                    }
                }
                var round = 0
                while round < 4 || clients.answered < Self.wanted {
                    let index = round % 2
                    clients.chosen.store(2, ordering: .relaxed)
                    try await Task.sleep(for: .seconds(1))
                    programs[index].signal(SIGTERM)
                    // The balancer takes a moment to notice.
                    try await Task.sleep(for: .milliseconds(700))
                    clients.chosen.store(1 - index, ordering: .relaxed)
                    #expect(try await programs[index].waitForExit(seconds: 30) == 0)
                    programs[index] = try await start(index)
                    round += 1
                }
                clients.isOver.store(true, ordering: .relaxed)
                try await group.waitForAll()
            }
            try await client.shutdown()
            clients.expectNothingLost()
        }

        @Test("no request is lost while the services behind the gateway are restarted, one replica after the other")
        func services() async throws {
            let replicas = ["graph-builder-1", "graph-builder-2", "anomaly-propagation-1", "anomaly-propagation-2"]
            var options = Stack.Options()
            options.database = "rolling"
            options.programs = ["gateway"] + replicas
            options.settings = ["SHUTDOWN_DRAIN_SECONDS": "2"].merging(Self.generous) { $1 }
            let stack = try await Stack.start(TestCluster.start(), options)
            let key = try await stack.key(scopes: "read", ["--expires-days", "3"])
            let client = Self.client(stack)
            let clients = Clients()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for worker in 0..<8 {
                    group.addTask {
                        await clients.ask(client, key: key) { turn in
                            stack.url + ((worker + turn).isMultiple(of: 2) ? "/v1/domains" : "/v1/anomalies")
                        }
                    }
                }
                var round = 0
                while round < replicas.count || clients.answered < Self.wanted {
                    let name = replicas[round % replicas.count]
                    try await Task.sleep(for: .seconds(1))
                    try stack.program(name).signal(SIGTERM)
                    #expect(try await stack.program(name).waitForExit(seconds: 40) == 0)
                    try stack.startService(name)
                    try await stack.waitUntilReady(name)
                    round += 1
                }
                clients.isOver.store(true, ordering: .relaxed)
                try await group.waitForAll()
            }
            try await client.shutdown()
            try await stack.stop()
            clients.expectNothingLost()
        }
    }
}
