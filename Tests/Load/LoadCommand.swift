import ArgumentParser
import AsyncHTTPClient
import Foundation
import NIOCore
import NIOFoundationCompat
import NIOHTTP1
import NIOPosix
import NIOSSL

/// Sends requests of mixed routes at a fixed rate, whatever the answers do, and says how long they took and how many failed.
@main
struct LoadCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "Load",
        abstract: "An open load: requests are due at fixed times, and their time counts from then.")

    @Option(help: "Connection file of a running system.") var connection: String
    @Option(help: "Requests a second.") var rate = 5_000
    @Option(help: "How long.") var seconds = 600
    @Option(help: "Connections, kept alive.") var connections = 64
    @Option(help: "Share of failures above which the exit code is 1.") var maxFailures = 0.001
    @Option(help: "Writes the figures as JSON.") var out: String?

    private struct System: Decodable {
        var url: String
        var caFile: String
        var apiKey: String
    }

    func validate() throws {
        guard (1...100_000).contains(self.rate), (1...3_600).contains(self.seconds),
            (1...4_096).contains(self.connections)
        else { throw ValidationError("rate is 1 to 100000, seconds 1 to 3600, connections 1 to 4096") }
    }

    func run() async throws {
        let system = try JSONDecoder().decode(
            System.self, from: Data(contentsOf: URL(fileURLWithPath: self.connection)))
        guard let url = URL(string: system.url), let host = url.host, let port = url.port else {
            throw ValidationError("the connection file has no url with a port")
        }
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.trustRoots = .file(system.caFile)
        tls.applicationProtocols = ["http/1.1"]
        let events = try await Self.prepare(system, tls)
        guard !events.isEmpty else { throw ValidationError("the system has no event with a graph") }
        let plan = LoadPlan(
            ratePerSecond: self.rate, seconds: self.seconds, events: events,
            startMs: Int64(Date().timeIntervalSince1970 * 1_000))
        print(
            "\(self.rate) requests/s for \(self.seconds) s over \(self.connections) connections, \(events.count) events;"
                + " times count from when a request was due")
        let tally = try await self.send(
            plan, host: host, port: port, key: system.apiKey, tls: try NIOSSLContext(configuration: tls))
        var figures = zip(plan.routes, tally.routes).map { LoadFigures(name: $0.name, [$1]) }
        let total = LoadFigures(name: "all", tally.routes)
        figures.append(total)
        print(LoadFigures.header)
        for figure in figures { print(figure.line) }
        if let out {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
            try encoder.encode(figures).write(to: URL(fileURLWithPath: out))
        }
        let share = Double(total.failed) / Double(max(1, total.failed + total.answered))
        print(String(format: "failed: %.4f %%", share * 100))
        if share > self.maxFailures { throw ExitCode.failure }
    }

    /// Declares the domain that is written to, with buckets of a second as one would for nodes that report hundreds of times in
    /// each: undeclared they would be 10 ms, and evaluation the most of what is measured.
    /// - Returns: up to eight events that have a graph.
    private static func prepare(_ system: System, _ tls: TLSConfiguration) async throws -> [WarmEvent] {
        struct Page: Decodable {
            struct Item: Decodable { var id: String }
            var items: [Item]
        }
        let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: .init(tlsConfiguration: tls))
        func get(_ path: String) async throws -> HTTPClientResponse {
            var request = HTTPClientRequest(url: system.url + path)
            request.headers.add(name: "x-api-key", value: system.apiKey)
            return try await client.execute(request, timeout: .seconds(30))
        }
        var events: [WarmEvent] = []
        do {
            var declaration = HTTPClientRequest(url: system.url + "/v1/domains/\(LoadPlan.domain)")
            declaration.method = .PUT
            declaration.headers.add(name: "x-api-key", value: system.apiKey)
            declaration.headers.add(name: "content-type", value: "application/json")
            declaration.body = .bytes(ByteBuffer(string: #"{"bucketMs":1000}"#))
            let declared = try await client.execute(declaration, timeout: .seconds(30))
            guard declared.status == .ok else {
                throw ValidationError("the domain \(LoadPlan.domain) cannot be declared: \(declared.status)")
            }
            _ = try await declared.body.collect(upTo: 1 << 20)
            let body = try await get("/v1/events?limit=100").body.collect(upTo: 1 << 20)
            for item in try JSONDecoder().decode(Page.self, from: body).items where events.count < 8 {
                let event = WarmEvent(name: item.id, tag: "")
                let answer = try await get("/v1/correlation-graph?eventId=\(event.id)")
                if answer.status == .ok, let tag = answer.headers.first(name: "etag") {
                    events.append(WarmEvent(name: item.id, tag: tag))
                }
                _ = try await answer.body.collect(upTo: 16 << 20)
            }
        } catch {
            try? await client.shutdown()
            throw error
        }
        try await client.shutdown()
        return events
    }

    private func send(_ plan: LoadPlan, host: String, port: Int, key: String, tls: NIOSSLContext) async throws
        -> LoadTally
    {
        // One thread is enough, and leaves the other processors to what is measured.
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let bootstrap = ClientBootstrap(group: loop).channelOption(.tcpOption(.tcp_nodelay), value: 1)
        var channels: [any Channel] = []
        var handlers: [NIOLoopBound<LoadConnection>] = []
        for _ in 0..<self.connections {
            let channel = try await bootstrap.connect(host: host, port: port).get()
            let handler = try await loop.submit {
                let handler = LoadConnection(plan: plan, host: "\(host):\(port)", key: key)
                let pipeline = channel.pipeline.syncOperations
                try pipeline.addHandler(NIOSSLClientHandler(context: tls, serverHostname: host))
                try pipeline.addHTTPClientHandlers()
                try pipeline.addHandler(handler)
                return NIOLoopBound(handler, eventLoop: loop)
            }.get()
            channels.append(channel)
            handlers.append(handler)
        }
        let bound = handlers
        let start = NIODeadline.now() + .seconds(1)
        let next = NIOLoopBoundBox.makeBoxSendingValue(0, eventLoop: loop)
        let over = loop.makePromise(of: Void.self)
        // What is due is handed out every millisecond; then the last answers are waited for.
        let grace = TimeAmount.seconds(30)
        loop.scheduleRepeatedTask(initialDelay: .seconds(1), delay: .milliseconds(1)) { task in
            let now = NIODeadline.now()
            while next.value < plan.count {
                let due = start + .nanoseconds(plan.dueNanoseconds(next.value))
                guard due <= now else { break }
                bound[next.value % bound.count].value.add(next.value, due: due)
                next.value += 1
            }
            guard next.value == plan.count else { return }
            let end = start + .seconds(Int64(plan.seconds)) + grace
            guard bound.allSatisfy({ $0.value.isIdle }) || now > end else { return }
            task.cancel()
            over.succeed(())
        }
        try await over.futureResult.get()
        let tally = try await loop.submit {
            bound.reduce(into: LoadTally(routeCount: plan.routes.count)) { sum, handler in
                handler.value.end("no answer")
                sum.add(handler.value.tally)
            }
        }.get()
        for channel in channels { try? await channel.close() }
        return tally
    }
}
