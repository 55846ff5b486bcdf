import AsyncHTTPClient
import Crypto
import Foundation
import Hummingbird
import Logging
import Model
import NIOCore
import NIOHTTP1
import NIOSSL
import Postgres
import ServiceLifecycle
import Synchronization
import Telemetry
import TestSupport

@testable import Gateway

/// A gateway on a free port with TLS, a real PostgreSQL and two fake services behind it.
struct LiveGateway: Sendable {
    let port: Int
    let folder: URL
    let certificate: String
    let pool: PostgresPool
    let settings: GatewaySettings
    let gateway: Gateway
    let builder: FakeService
    let causes: FakeService
    let builderPort: Int
    let http1: HTTPClient
    let http2: HTTPClient
    let log: LogLines

    static let secret = SymmetricKey(data: Data("a secret of at least 32 bytes, shared".utf8))

    var base: String { "https://localhost:\(self.port)" }

    static func with(
        _ change: (inout GatewaySettings) -> Void = { _ in },
        _ body: @escaping @Sendable (LiveGateway) async throws -> Void
    ) async throws {
        let folder = try OpenSSL.folder()
        defer { try? FileManager.default.removeItem(at: folder) }
        let pair = try OpenSSL.selfSigned(in: folder, name: "server")
        var settings = GatewaySettings(
            host: "127.0.0.1", port: 0,
            tls: try TLSFiles.configuration(certificateFile: pair.certificate, keyFile: pair.key),
            tlsFiles: TLSFiles.Pair(certificateFile: pair.certificate, keyFile: pair.key),
            callerTokenSecret: { Self.secret }, jwt: nil, fallback: [:], door: DoorSettings())
        change(&settings)
        let final = settings
        try await TestDatabase.with { database in
            try await database.withPool { pool in
                try await Self.run(final, folder: folder, certificate: pair.certificate, pool: pool, body)
            }
        }
    }

    private static func run(
        _ settings: GatewaySettings, folder: URL, certificate: String, pool: PostgresPool,
        _ body: @escaping @Sendable (LiveGateway) async throws -> Void
    ) async throws {
        let log = LogLines()
        let logger = Logger(label: "gateway") { _ in log }
        let builder = FakeService(name: "builder")
        let causes = FakeService(name: "causes")
        let ports = Ports()
        let gateway = try await Gateway(
            settings: settings, pool: pool, logger: logger, accessLog: log.accessLog,
            onRunning: { await ports.set("gateway", $0) })
        let http1 = try Self.client(certificate: certificate, version: .http1Only)
        let http2 = try Self.client(certificate: certificate, version: .automatic)
        let result: Result<Void, any Error>
        do {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await builder.application { await ports.set("builder", $0) }.run() }
                group.addTask { try await causes.application { await ports.set("causes", $0) }.run() }
                let builderPort = try await ports.wait("builder")
                for (service, port) in [
                    ("graph-builder", builderPort), ("anomaly-propagation", try await ports.wait("causes")),
                ] {
                    try await pool.query(
                        "INSERT INTO replicas VALUES ($1, $2, $3, now() + interval '4 minutes')",
                        [.text(service), .text(service), .text("127.0.0.1:\(port)")])
                }
                try await gateway.directory.refresh()
                group.addTask { try await gateway.listener.run() }
                let live = LiveGateway(
                    port: try await ports.wait("gateway"), folder: folder, certificate: certificate, pool: pool,
                    settings: settings, gateway: gateway, builder: builder, causes: causes, builderPort: builderPort,
                    http1: http1,
                    http2: http2, log: log)
                defer { group.cancelAll() }
                try await body(live)
            }
            result = .success(())
        } catch {
            result = .failure(error)
        }
        try? await http1.shutdown()
        try? await http2.shutdown()
        try? await gateway.client.shutdown()
        try result.get()
    }

    private static func client(certificate: String, version: HTTPClient.Configuration.HTTPVersion) throws -> HTTPClient
    {
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.trustRoots = .file(certificate)
        var configuration = HTTPClient.Configuration(tlsConfiguration: tls, redirectConfiguration: .disallow)
        configuration.httpVersion = version
        return HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    /// A new key in the table.
    func key(_ scopes: Set<Scope> = [.read, .ingest]) async throws -> APIKeyText {
        let key = APIKeyText.random()
        let request = try NewAPIKey(
            caller: "caller-\(key.id)", scopes: scopes.map(\.rawValue), expiresInDays: 1)
        _ = try await APIKeyStore(pool: self.pool).insert(
            key, for: request, now: Timestamp(milliseconds: WallClock.milliseconds()))
        return key
    }

    struct Answer: Sendable {
        let status: Int
        let version: String
        let headers: [String: [String]]
        let body: Data

        subscript(name: String) -> String? { self.headers[name.lowercased()]?.joined(separator: "|") }
        var problem: Problem? { try? JSONDecoder().decode(Problem.self, from: self.body) }
        var text: String { String(decoding: self.body, as: UTF8.self) }
    }

    func send(
        _ method: String = "GET", _ target: String, key: APIKeyText? = nil, headers: [(String, String)] = [],
        body: HTTPClientRequest.Body? = nil, http2: Bool = false
    ) async throws -> Answer {
        var request = HTTPClientRequest(url: self.base + target)
        request.method = .init(rawValue: method)
        if let key { request.headers.add(name: "X-API-Key", value: key.text) }
        for (name, value) in headers { request.headers.add(name: name, value: value) }
        request.body = body
        let response = try await (http2 ? self.http2 : self.http1).execute(request, timeout: .seconds(30))
        let collected = try await response.body.collect(upTo: 64 << 20)
        var fields: [String: [String]] = [:]
        for (name, value) in response.headers { fields[name.lowercased(), default: []].append(value) }
        return Answer(
            status: Int(response.status.code), version: "\(response.version)", headers: fields,
            body: Data(collected.readableBytesView))
    }
}

/// Ports of servers that have started.
actor Ports {
    private var known: [String: Int] = [:]

    func set(_ name: String, _ channel: any Channel) { self.known[name] = channel.localAddress?.port }

    func wait(_ name: String) async throws -> Int {
        for _ in 0..<1_000 {
            if let port = self.known[name] { return port }
            try await Task.sleep(for: .milliseconds(10))
        }
        throw CancellationError()
    }
}

/// Keeps log lines.
struct LogLines: LogHandler {
    private final class Store: Sendable {
        let lines = Mutex<[(message: String, metadata: Logger.Metadata)]>([])
        let access = Mutex(ByteBuffer())
    }

    private let store = Store()
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.info

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { self.metadata[key] }
        set { self.metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        self.store.lines.withLock { $0.append((event.message.description, event.metadata ?? [:])) }
    }

    /// A log whose lines come here.
    var accessLog: AccessLog {
        AccessLog(service: "gateway", format: .json, isOn: true) { batch in
            self.store.access.withLock { _ = $0.writeImmutableBuffer(batch) }
        }
    }

    /// The fixed fields of every line so far.
    var access: [[String: String]] {
        struct Line: Decodable { let metadata: [String: String] }
        return self.store.access.withLock { String(buffer: $0) }.split(separator: "\n").compactMap {
            (try? JSONDecoder().decode(Line.self, from: Data($0.utf8)))?.metadata
        }
    }

    /// How many requests were answered so far.
    var accessCount: Int {
        self.store.access.withLock { $0.withUnsafeReadableBytes { bytes in bytes.count { $0 == 0x0A } } }
    }

    var text: String { self.store.lines.withLock { "\($0)" } + self.store.access.withLock { String(buffer: $0) } }
}
