import Foundation
import Glibc
import Model
import TestSupport

/// A system of its own in which things are broken on purpose: staging profile, chaos allowed, settings in a file that is read
/// again. Started once for all tests of this folder that need no more.
struct FaultStack: Sendable {
    let stack: Stack
    let plan: ObservationPlan
    private let graphBuilders: [String]
    private let file: String
    private let gatewayFile: String

    private static let starting = Task { try await FaultStack.start() }
    static func shared() async throws -> FaultStack { try await self.starting.value }

    /// What the file says when nothing is being tried.
    static let usual = ["QUERY_TIMEOUT_MS": "1000", "MEMORY_CEILING_BYTES": "\(1 << 30)"]

    /// One client on a shared machine must be able to reach these limits.
    static let usualOfGateway = ["RATE_LIMITER_TOKENS": "300", "RATE_LIMITER_REFILL_RATE": "40"]

    /// - Parameter changes: settings of all programs.
    static func start(
        graphBuilders: [String] = ["graph-builder"], database: String = "faults", changes: [String: String] = [:]
    ) async throws -> FaultStack {
        let folder = NSTemporaryDirectory() + "faults-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let file = folder + "/graph-builder.yaml"
        try Self.text(Self.usual).write(toFile: file, atomically: true, encoding: .utf8)
        let gatewayFile = folder + "/gateway.yaml"
        try Self.text(Self.usualOfGateway).write(toFile: gatewayFile, atomically: true, encoding: .utf8)
        var options = Stack.Options()
        options.database = database
        options.programs = graphBuilders + ["anomaly-propagation", "gateway"]
        options.settings = ["UNDERCURRENT_PROFILE": "staging", "CHAOS_ENABLED": "true"]
        options.settingsOf = ["gateway": ["CONFIG_FILE": gatewayFile]]
        for name in graphBuilders {
            options.settingsOf[name] = ["CONFIG_FILE": file, "LEASE_SECONDS": "2"].merging(changes) { $1 }
        }
        options.withoutSettings = ["QUERY_TIMEOUT_MS"]
        let stack = try await Stack.start(TestCluster.start(), options)
        let plan = ObservationPlan(batches: 60)
        for domain in ObservationPlan.bucketMs.keys {
            let reply = try await stack.put("/v1/domains/\(domain)", plan.profile(domain))
            guard reply.status < 300 else { throw RunningProgram.Failure(description: reply.text) }
        }
        try await Delivery(plan, to: stack, .init(window: ObservationPlan.window)).send()
        let faults = FaultStack(
            stack: stack, plan: plan, graphBuilders: graphBuilders, file: file, gatewayFile: gatewayFile)
        _ = try await Evidence(stack: stack, plan: plan).settled(seconds: 120)
        let layers = try await faults.layers()
        guard layers.count == 4, layers.values.allSatisfy({ $0.state == "ok" || changes["L4_MODE"] != nil }) else {
            throw RunningProgram.Failure(description: "not all layers are there: \(layers)")
        }
        return faults
    }

    private static func text(_ values: [String: String]) -> String {
        values.sorted { $0.key < $1.key }.map { "\($0.key): \"\($0.value)\"\n" }.joined()
    }

    /// Puts values into the file and has it read again.
    func configure(_ changes: [String: String], bySignal: Bool = true) throws {
        try Self.text(Self.usual.merging(changes) { $1 }).write(toFile: self.file, atomically: true, encoding: .utf8)
        guard bySignal else { return }
        for name in self.graphBuilders { kill(try self.stack.program(name).process, SIGHUP) }
    }

    /// The same for the gateway's file.
    func configureGateway(_ changes: [String: String]) throws {
        try Self.text(Self.usualOfGateway.merging(changes) { $1 })
            .write(toFile: self.gatewayFile, atomically: true, encoding: .utf8)
        kill(try self.stack.program("gateway").process, SIGHUP)
    }

    /// - Parameter event: whose owner is meant.
    /// - Returns: the answer to `POST /v1/chaos`.
    func chaos(_ json: String, at event: String? = nil, scopes: String = "admin") async throws -> Reply {
        try await self.stack.call(
            "POST", "/v1/chaos" + (event.map { "?eventId=\($0)" } ?? ""), key: try await self.stack.key(scopes: scopes),
            headers: [("Content-Type", "application/json")], body: Data(json.utf8))
    }

    /// A trial as the API tells it.
    struct Trial: Decodable {
        struct Result: Decodable {
            var state: String
            var faults: [String]
        }
        var id: String
        var kind: String
        var expectation: String
        var result: Result
    }

    /// Waits for graph-builder's own verdict on a trial.
    func verdict(on reply: Reply) async throws -> Trial.Result {
        struct Page: Decodable { var items: [Trial] }
        let id = try reply.json(Trial.self).id
        var found: Trial.Result?
        try await self.stack.eventually("the trial \(id) has a result", seconds: 100) {
            let key = try await self.stack.key(scopes: "admin")
            let page = try await self.stack.call("GET", "/v1/chaos", key: key).json(Page.self)
            found = page.items.first { $0.id == id }?.result
            return found.map { $0.state != "running" } ?? false
        }
        guard let found else { throw RunningProgram.Failure(description: "there is no trial \(id)") }
        return found
    }

    struct LayerState: Decodable, Sendable {
        var layer: String
        var state: String
        var reason: String?
    }

    struct Graph: Decodable, Sendable {
        var id: String
        var complete: Bool
        var windowEnd: Timestamp
        var layers: [LayerState]
    }

    func graph(_ event: String = "fast-one") async throws -> Graph {
        try await self.stack.get("/v1/correlation-graph?eventId=\(event)").json(Graph.self)
    }

    func layers(_ event: String = "fast-one") async throws -> [String: LayerState] {
        Dictionary(try await self.graph(event).layers.map { ($0.layer, $0) }, uniquingKeysWith: { first, _ in first })
    }

    /// The value of a metric of graph-builder; 0 when it has none yet.
    func metric(_ name: String, of program: String = "graph-builder") async throws -> Double {
        try await self.stack.metric(name, of: program)
    }

    struct Health: Decodable, Sendable {
        var status: String
        var reasons: [String]
        var circuits: [String: String]?
    }

    func health(of program: String = "graph-builder") async throws -> Health {
        let port = self.stack.ports[program]?.http ?? 0
        return try await self.stack.call("GET", "http://127.0.0.1:\(port)/health", key: nil).json(Health.self)
    }
}
