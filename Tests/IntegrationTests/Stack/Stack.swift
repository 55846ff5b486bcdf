import AsyncHTTPClient
import Foundation
import Glibc
import Logging
import NIOSSL
import Postgres
import Synchronization
import TestSupport

/// The whole system as real processes: a private PostgreSQL, the three services, TLS at the door. One of them is started once
/// for all tests; tests that kill programs or the server start others.
final class Stack: Sendable {
    static let serviceNames = ["graph-builder", "anomaly-propagation", "gateway"]

    /// What a stack consists of.
    struct Options: Sendable {
        var database = "undercurrent"
        /// A database that is copied for this stack; nobody may be connected to it.
        var template: String?
        /// Programs by name; a second replica has a number behind its name: `graph-builder-2`.
        var programs = Stack.serviceNames
        /// Those of the programs that run from the beginning; nil: all.
        var started: [String]?
        /// False: clients speak HTTP/1.1 only.
        var allowsHTTP2 = true
        /// True: programs find the server by a name in a file, not by its address.
        var namesServer = false
        /// Settings all of them get.
        var settings: [String: String] = [:]
        /// Where programs of another build lie, by their names.
        var folderOf: [String: String] = [:]
        /// Settings of one program, by its name.
        var settingsOf: [String: [String: String]] = [:]
        /// More of the environment of services; commands do without.
        var environment: [String: String] = [:]
        /// Settings that are left to the programs' own defaults and files.
        var withoutSettings: Set<String> = []
    }

    struct Ports: Sendable {
        let http: Int
        let metrics: Int
    }

    let folder: String
    let cluster: TestCluster
    let options: Options
    let ports: [String: Ports]
    let http: HTTPClient
    private let serverPort = Mutex(5432)
    private let programs = Mutex<[String: RunningProgram]>([:])
    private let keys = Mutex<[String: String]>([:])

    private static let starting = Task {
        let stack = try await Stack.start(TestCluster.start())
        // Its observations lie a millisecond apart, and years; nothing is to be learnt from ten thousand windows of them.
        let declared = try await stack.put("/v1/domains/test", #"{"domain":"test","bucketMs":60000}"#)
        guard declared.status < 300 else { throw RunningProgram.Failure(description: declared.text) }
        return stack
    }

    /// - Throws: why the stack did not start; the same for every test.
    static func shared() async throws -> Stack { try await self.starting.value }

    private init(
        folder: String, cluster: TestCluster, options: Options, ports: [String: Ports], http: HTTPClient
    ) {
        self.folder = folder
        self.cluster = cluster
        self.options = options
        self.ports = ports
        self.http = http
    }

    /// A client that trusts the gateway. Whoever takes it shuts it down.
    static func client(caFile: String, allowsHTTP2: Bool) -> HTTPClient {
        var configuration = HTTPClient.Configuration(redirectConfiguration: .disallow)
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.trustRoots = .file(caFile)
        configuration.tlsConfiguration = tls
        // A test's clients wait for the gateway, not for one another.
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 64
        if !allowsHTTP2 { configuration.httpVersion = .http1Only }
        return HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    var databaseURL: String {
        "host=\(self.cluster.socketFolder) port=\(self.serverPort.withLock { $0 }) user=undercurrent "
            + "dbname=\(self.options.database)"
    }
    var url: String { "https://localhost:\(self.ports["gateway"]?.http ?? 0)" }
    var caFile: String { self.folder + "/ca.pem" }

    static func start(_ cluster: TestCluster, _ options: Options = Options()) async throws -> Stack {
        var template = Array("/tmp/undercurrent-stack-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw RunningProgram.Failure(description: "mkdtemp: errno \(errno)") }
        let folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        try Certificates.make(in: folder)
        var ports: [String: Ports] = [:]
        for name in Set(Self.serviceNames + options.programs) {
            ports[name] = Ports(http: try FreePort.find(), metrics: try FreePort.find())
        }
        let stack = Stack(
            folder: folder, cluster: cluster, options: options, ports: ports,
            http: Self.client(caFile: folder + "/ca.pem", allowsHTTP2: options.allowsHTTP2))
        do {
            try stack.nameServer(port: 5432)
            try await stack.createDatabase()
            try await stack.runToEnd("graph-builder", ["migrate"])
            let started = options.started ?? options.programs
            for name in started { try stack.startService(name) }
            for name in started { try await stack.waitUntilReady(name) }
            return stack
        } catch {
            try? await stack.stop(keepsLogs: true)
            throw RunningProgram.Failure(description: "\(error) (logs: \(folder))")
        }
    }

    /// Kills what runs. The shared stack ends with the tests instead.
    /// - Parameter keepsLogs: leaves the folder with the programs' output.
    func stop(keepsLogs: Bool = false) async throws {
        let programs = self.programs.withLock { Array($0.values) }
        for program in programs {
            program.signal(SIGCONT)
            program.signal(SIGKILL)
        }
        for program in programs { _ = try await program.waitForExit(seconds: 10) }
        try await self.http.shutdown()
        if !keepsLogs { try? FileManager.default.removeItem(atPath: self.folder) }
    }

    private var serviceFile: String { self.folder + "/services" }

    /// Makes the server's name mean another port.
    func nameServer(port: Int) throws {
        self.serverPort.withLock { $0 = port }
        let lines = ["[undercurrent]"] + self.databaseURL.split(separator: " ").map(String.init)
        try lines.joined(separator: "\n").appending("\n")
            .write(toFile: self.serviceFile, atomically: true, encoding: .utf8)
    }

    private func createDatabase() async throws {
        let connection = try await PostgresConnection.connect(
            try PostgresConfiguration(
                connectionString: "host=\(self.cluster.socketFolder) user=undercurrent dbname=postgres"))
        try await connection.runScript(
            PostgresStatement(
                composed: "CREATE DATABASE \(self.options.database)"
                    + (self.options.template.map { " TEMPLATE \($0)" } ?? "")))
        await connection.close()
    }

    /// Settings of one service; `changes` win.
    func settings(_ name: String, _ changes: [String: String] = [:]) -> [String: String] {
        var settings = [
            "DATABASE_URL": (self.options.namesServer ? "service=undercurrent" : self.databaseURL)
                + " application_name=\(name)",
            "PGSERVICEFILE": self.serviceFile,
            "HTTP_PORT": "\(self.ports[name]?.http ?? 0)",
            "METRICS_PORT": "\(self.ports[name]?.metrics ?? 0)",
            "CALLER_TOKEN_SECRET_FILE": self.folder + "/caller-secret", "SHUTDOWN_DRAIN_SECONDS": "0",
            // Tests share two cores with builds; what is asserted about the limit sets its own.
            "QUERY_TIMEOUT_MS": "2000",
        ]
        if name == "gateway" {
            settings["TLS_CERTIFICATE_FILE"] = self.folder + "/server.pem"
            settings["TLS_KEY_FILE"] = self.folder + "/server-key.pem"
            for upstream in ["graph-builder", "anomaly-propagation"] {
                let key = "UPSTREAM_" + upstream.uppercased().replacingOccurrences(of: "-", with: "_")
                let replicas = self.options.programs.filter { $0.hasPrefix(upstream) }
                settings[key] = replicas.map { "http://127.0.0.1:\(self.ports[$0]?.http ?? 0)" }.joined(separator: ",")
            }
        }
        return settings.filter { !self.options.withoutSettings.contains($0.key) }
            .merging(self.options.settings) { $1 }.merging(self.options.settingsOf[name] ?? [:]) { $1 }
            .merging(changes) { $1 }
    }

    /// The executable behind a name of ``Options/programs``.
    private static func product(_ name: String) -> String {
        Self.serviceNames.first { name.hasPrefix($0) } ?? name
    }

    func startService(_ name: String) throws {
        let program = try RunningProgram(
            Self.product(name), ["serve"], settings: self.settings(name).merging(self.options.environment) { $1 },
            log: "\(self.folder)/\(name).log", from: self.options.folderOf[name] ?? RunningProgram.products)
        self.programs.withLock { $0[name] = program }
    }

    func program(_ name: String) throws -> RunningProgram {
        guard let program = self.programs.withLock({ $0[name] }) else {
            throw RunningProgram.Failure(description: "\(name) was never started")
        }
        return program
    }

    /// Runs a sub-command to its end.
    /// - Returns: what it printed.
    @discardableResult
    func runToEnd(
        _ product: String, _ arguments: [String], _ changes: [String: String] = [:], expecting code: CInt = 0
    ) async throws -> String {
        let program = try RunningProgram(
            product, arguments, settings: self.settings(product, changes),
            log: "\(self.folder)/run-\(UInt64.random(in: 0 ... .max)).log")
        let found = try await program.waitForExit(seconds: 60)
        guard found == code else {
            throw RunningProgram.Failure(
                description: "\(product) \(arguments) ended with \(found), not \(code): \(program.output.suffix(2_000))"
            )
        }
        return program.output
    }

    func waitUntilReady(_ name: String) async throws {
        let address = name == "gateway" ? self.url : "http://127.0.0.1:\(self.ports[name]?.http ?? 0)"
        try await self.eventually("\(name) is ready", seconds: 60) {
            let program = try self.program(name)
            if let code = program.exitCode() {
                throw Fatal(description: "\(name) ended with \(code): \(program.output.suffix(2_000))")
            }
            return try await self.call("GET", address + "/readyz", key: nil).status == 200
        }
    }

    /// An error that ends ``eventually(_:seconds:_:)`` at once.
    struct Fatal: Error, CustomStringConvertible {
        let description: String
    }

    /// Asks until the answer is yes; an error counts as no.
    func eventually(_ what: String, seconds: Double = 30, _ condition: () async throws -> Bool) async throws {
        let deadline = ContinuousClock.now + .seconds(seconds)
        var last = "no"
        while ContinuousClock.now < deadline {
            do {
                if try await condition() { return }
            } catch let fatal as Fatal {
                throw fatal
            } catch {
                last = String(describing: error)
            }
            try await Task.sleep(for: .milliseconds(100))
        }
        throw RunningProgram.Failure(description: "not within \(seconds) s: \(what) (last: \(last))")
    }

    /// An API key of the given scopes, made once by `gateway keys create`.
    func key(scopes: String, _ more: [String] = []) async throws -> String {
        let name = ([scopes] + more).joined(separator: " ")
        if let known = self.keys.withLock({ $0[name] }) { return known }
        let output = try await self.runToEnd(
            "gateway", ["keys", "create", "--caller", "tests-\(name.hashValue.magnitude)", "--scopes", scopes] + more)
        guard let key = output.firstMatch(of: /uc_[A-Za-z0-9_-]+/).map({ String($0.output) }) else {
            throw RunningProgram.Failure(description: "gateway keys create printed no key: \(output)")
        }
        self.keys.withLock { $0[name] = key }
        return key
    }
}
