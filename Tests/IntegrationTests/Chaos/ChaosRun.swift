import Foundation
import Postgres
import Synchronization
import TestSupport

/// Stacks of the tests in this folder: all on one private server, each with a database of its own.
enum ChaosRun {
    /// What a run nobody disturbs comes to.
    struct Outcome: Sendable {
        var graphs: [String: String]
        var evaluations: Set<String>
        /// nil for plans whose data may come late.
        var conclusions: Conclusions?
    }

    private static let cluster = Task { try TestCluster.start() }
    private static let undisturbed = Mutex<[ObservationPlan: Task<Outcome, any Error>]>([:])

    /// Runs the services on an empty database in which the plan's domains are declared.
    ///
    /// - Parameters:
    ///   - replicas: names of the graph-builders.
    ///   - started: how many of them run from the beginning.
    ///   - server: one of the test's own; else all tests share one.
    ///   - adjust: the last word on what the stack consists of.
    static func withStack<Result>(
        _ plan: ObservationPlan, replicas: [String] = ["graph-builder"], started: Int? = nil,
        server: TestCluster? = nil, adjust: (inout Stack.Options) -> Void = { _ in },
        _ body: (Stack) async throws -> Result
    ) async throws -> Result {
        var options = Stack.Options()
        options.database = "chaos_\(UInt32.random(in: 0 ... .max))"
        let others = ["anomaly-propagation", "gateway"]
        options.programs = replicas + others
        options.started = Array(replicas.prefix(started ?? replicas.count)) + others
        options.namesServer = server != nil
        // Short, so that what a lost owner held is evaluated again within the patience of a test.
        options.settings = ["LEASE_SECONDS": "2"]
        adjust(&options)
        let shared = try await Self.cluster.value
        let stack = try await Stack.start(server ?? shared, options)
        do {
            for domain in ObservationPlan.bucketMs.keys {
                // Replicas that are to join later may be asked first.
                try await stack.eventually("\(domain) is declared") {
                    let reply = try await stack.put("/v1/domains/\(domain)", plan.profile(domain))
                    guard reply.status < 300 else { throw RunningProgram.Failure(description: reply.text) }
                    return true
                }
            }
            let result = try await body(stack)
            try await stack.stop()
            return result
        } catch {
            try? await stack.stop(keepsLogs: true)
            throw RunningProgram.Failure(description: "\(error) (logs: \(stack.folder))")
        }
    }

    /// The outcome of a plan without trouble; made once.
    static func undisturbed(_ plan: ObservationPlan) async throws -> Outcome {
        let task = Self.undisturbed.withLock { known in
            if let task = known[plan] { return task }
            let task = Task {
                try await Self.withStack(plan) { stack in try await Self.outcome(plan, stack) }
            }
            known[plan] = task
            return task
        }
        return try await task.value
    }

    private static func outcome(_ plan: ObservationPlan, _ stack: Stack) async throws -> Outcome {
        let evidence = Evidence(stack: stack, plan: plan)
        try await Delivery(plan, to: stack, .init(window: ObservationPlan.window)).send()
        let graphs = try await evidence.settled(seconds: 600)
        // Graphs without edges, or of another time, would prove nothing.
        for (event, graph) in graphs {
            let domain = String(event.prefix { $0 != "-" })
            guard graph.hasSuffix(" \(plan.lastEnd(domain))") else {
                throw RunningProgram.Failure(description: "\(event) ends with \(graph), not \(plan.lastEnd(domain))")
            }
        }
        let layers = try await evidence.connected { connection in
            try await connection.query(
                "SELECT DISTINCT layer FROM multi_layer_correlations WHERE superseded_at IS NULL ORDER BY layer"
            ).column(Int16.self)
        }
        guard layers == [1, 2, 3, 4] else {
            throw RunningProgram.Failure(description: "there are edges of the layers \(layers) only")
        }
        guard plan.isInOrder else {
            return Outcome(graphs: graphs, evaluations: try await evidence.evaluations(), conclusions: nil)
        }
        let conclusions = try await evidence.concluded()
        // Few of them would prove little.
        guard conclusions.findings.count > 100, conclusions.anomalies.count > 2, conclusions.forecasts.count > 50 else {
            throw RunningProgram.Failure(description: "only \(conclusions.difference(to: conclusions))")
        }
        return Outcome(
            graphs: graphs, evaluations: try await evidence.evaluations(), conclusions: conclusions)
    }
}
