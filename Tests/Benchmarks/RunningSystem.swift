import AsyncHTTPClient
import Crypto
import Foundation
import Model
import NIOCore
import NIOHTTP1
import NIOSSL
import TestSupport

/// A system that `make run` has started, and the ways to bring observations into it.
struct RunningSystem: Sendable {
    enum Way: String, CaseIterable, Sendable { case gateway, direct, copy }

    private struct Connection: Decodable {
        struct Ports: Decodable { var port: Int }
        var url: String
        var caFile: String
        var apiKey: String
        var databaseUrl: String
        var services: [String: Ports]
    }

    private struct Domains: Decodable {
        struct Item: Decodable { var pendingBuckets: Int }
        var items: [Item]
    }

    private let gatewayURL: String
    private let directURL: String
    let databaseURL: String
    private let apiKey: String
    private let secret: SymmetricKey
    private let http: HTTPClient

    init(connectionFile: String, secretFile: String) throws {
        let connection = try JSONDecoder().decode(
            Connection.self, from: Data(contentsOf: URL(fileURLWithPath: connectionFile)))
        guard let port = connection.services["graph-builder"]?.port else {
            throw WrongAnswer(description: "the connection file names no graph-builder")
        }
        self.gatewayURL = connection.url
        self.directURL = "http://127.0.0.1:\(port)"
        self.databaseURL = connection.databaseUrl
        self.apiKey = connection.apiKey
        let text = try String(contentsOfFile: secretFile, encoding: .utf8)
        self.secret = SymmetricKey(data: Data((text.split(whereSeparator: \.isNewline).first ?? "").utf8))
        var configuration = HTTPClient.Configuration()
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.trustRoots = .file(connection.caFile)
        configuration.tlsConfiguration = tls
        self.http = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    /// The system that scripts/bench.sh has started; nil when it has not.
    static func ofEnvironment() throws -> RunningSystem? {
        let environment = ProcessInfo.processInfo.environment
        guard let path = environment["UNDERCURRENT_CONNECTION"], let secret = environment["UNDERCURRENT_CALLER_SECRET"]
        else { return nil }
        return try RunningSystem(connectionFile: path, secretFile: secret)
    }

    /// Asks through the gateway.
    /// - Parameter timeout: what the request is given, and a second more to be told of it.
    func status(_ path: String, timeout: Duration) async throws -> Int {
        var request = HTTPClientRequest(url: self.gatewayURL + path)
        request.headers.add(name: "X-API-Key", value: self.apiKey)
        request.headers.add(name: "Cache-Control", value: "no-cache")
        request.headers.add(name: "X-Request-Timeout-Ms", value: "\(Int(timeout / .milliseconds(1)))")
        let response = try await self.http.execute(request, timeout: .init(timeout + .seconds(1)))
        _ = try await response.body.collect(upTo: 1 << 20)
        return Int(response.status.code)
    }

    /// Makes the partition of the load's day by one observation before it, and declares the clock.
    func prepare(_ load: IngestLoad, _ way: Way) async throws {
        if way == .copy { try self.write(load, to: Self.copyFile(load)) }
        try await self.post("/v1/domains/bench", .PUT, "application/json", ByteBuffer(string: #"{"bucketMs":60000}"#))
        let oldest = load.observation(0)
        let first = Observation(
            node: oldest.node, time: Timestamp(milliseconds: oldest.time.milliseconds - 1_000), value: oldest.value)
        try await self.post(
            "/v1/observations", .POST, "application/x-ndjson", ByteBuffer(string: IngestLoad.line(first)))
    }

    /// Returns when everything is durable.
    func send(_ load: IngestLoad, _ way: Way, inFlight: Int) async throws {
        guard way != .copy else { return try self.copy(load) }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (index, body) in load.bodies.enumerated() {
                if index >= inFlight { try await group.next() }
                group.addTask { try await self.post("/v1/observations", .POST, "application/x-ndjson", body, way) }
            }
            try await group.waitForAll()
        }
    }

    private func post(
        _ path: String, _ method: HTTPMethod, _ type: String, _ body: ByteBuffer, _ way: Way = .gateway
    ) async throws {
        var request = HTTPClientRequest(url: (way == .direct ? self.directURL : self.gatewayURL) + path)
        request.method = method
        request.headers.add(name: "Content-Type", value: type)
        if way == .direct {
            let token = CallerToken(
                caller: "bench", scopes: [.ingest],
                expiresAtMs: Int64(Date().timeIntervalSince1970 * 1_000) + 60_000)
            request.headers.add(name: CallerToken.headerName, value: try token.signed(with: self.secret))
        } else {
            request.headers.add(name: "X-API-Key", value: self.apiKey)
        }
        request.body = .bytes(body)
        let response = try await self.http.execute(request, timeout: .seconds(60))
        let answer = try await response.body.collect(upTo: 1 << 20)
        guard (200..<300).contains(response.status.code) else {
            throw WrongAnswer(description: "\(method) \(path): \(response.status.code) \(String(buffer: answer))")
        }
    }

    private static func copyFile(_ load: IngestLoad) -> String {
        FileManager.default.temporaryDirectory.path + "/uc-copy-\(load.day).csv"
    }

    private func copy(_ load: IngestLoad) throws {
        let file = Self.copyFile(load)
        defer { try? FileManager.default.removeItem(atPath: file) }
        _ = try self.psql("\\copy observations (shard, node_id, observed_at, value) FROM '\(file)' CSV")
    }

    private func write(_ load: IngestLoad, to file: String) throws {
        try (0..<load.count).map(load.copyLine).joined().write(toFile: file, atomically: false, encoding: .utf8)
    }

    /// Observations of the load's day that are in the database.
    func count(_ load: IngestLoad) throws -> Int {
        let (from, to) = (
            Timestamp(milliseconds: load.day * 86_400_000).rfc3339,
            Timestamp(milliseconds: (load.day + 1) * 86_400_000).rfc3339
        )
        let text = try self.psql(
            "SELECT count(*) FROM observations WHERE observed_at >= '\(from)' AND observed_at < '\(to)'")
        return Int(text.trimmingCharacters(in: .whitespacesAndNewlines)) ?? -1
    }

    private func psql(_ command: String) throws -> String {
        let log = FileManager.default.temporaryDirectory.path + "/uc-psql-\(UInt64.random(in: 0 ... .max))"
        defer { try? FileManager.default.removeItem(atPath: log) }
        let process = try ChildProgram.spawn(["/usr/bin/psql", "-XqAt", "-c", command, self.databaseURL], log: log)
        var status: CInt = 0
        while waitpid(process, &status, 0) < 0, errno == EINTR {}
        let output = try String(contentsOfFile: log, encoding: .utf8)
        guard status == 0 else { throw WrongAnswer(description: "psql: \(output)") }
        return output
    }

    /// Waits until evaluation has caught up, so that one run's work does not fall into the next.
    func settle() async throws {
        let end = ContinuousClock.now + .seconds(120)
        while ContinuousClock.now < end {
            var request = HTTPClientRequest(url: self.gatewayURL + "/v1/domains")
            request.headers.add(name: "X-API-Key", value: self.apiKey)
            let response = try await self.http.execute(request, timeout: .seconds(60))
            let body = try await response.body.collect(upTo: 1 << 20)
            let domains = try JSONDecoder().decode(Domains.self, from: Data(body.readableBytesView))
            if domains.items.allSatisfy({ $0.pendingBuckets == 0 }) { return }
            try await Task.sleep(for: .milliseconds(200))
        }
        throw WrongAnswer(description: "evaluation has not caught up within 120 s")
    }
}
