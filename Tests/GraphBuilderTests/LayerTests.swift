import Foundation
import Model
import Postgres
import ServiceRuntime
import Synchronization
import Telemetry
import TestSupport
import Testing

@testable import GraphBuilder

@Suite("Layers")
struct LayerTests {
    private static func reports(_ failing: Set<Layer> = [], except unseen: Set<Layer> = []) -> [LayerReport] {
        Layer.allCases.filter { !unseen.contains($0) }.map {
            LayerReport(
                layer: $0, state: failing.contains($0) ? .failed : .ok, reason: failing.contains($0) ? "no" : nil)
        }
    }

    /// Seen to fail: with a circuit that never opens.
    @Test("a layer that fails five times is left alone for thirty seconds, then tried once; the others go on")
    func breaker() {
        var machine = LayerMachine()
        for second in 0..<5 {
            let plan = machine.begin(now: .seconds(second))
            #expect(plan.states.isEmpty)
            let failed = machine.finish(plan, outcome: Self.reports([.crossEvent]), now: .seconds(second))
            #expect(failed == [.crossEvent])
        }
        let open = machine.begin(now: .seconds(10))
        #expect(Array(open.states.keys) == [.crossEvent] && open.states[.crossEvent]?.state == .failed)
        #expect(open.states[.crossEvent]?.reason.contains("open after 5 failures") == true)
        _ = machine.finish(open, outcome: Self.reports(except: [.crossEvent]), now: .seconds(10))
        #expect(machine.troubles(now: .seconds(10)).count == 1)
        let trial = machine.begin(now: .seconds(35))
        #expect(trial.states.isEmpty && trial.trials == [.crossEvent])
        // Two at a time would be no trial.
        let beside = machine.begin(now: .seconds(35))
        #expect(beside.states[.crossEvent] != nil)
        _ = machine.finish(trial, outcome: Self.reports(), now: .seconds(35))
        #expect(machine.troubles(now: .seconds(35)).isEmpty && machine.standing(now: .seconds(35)) == .init())
    }

    /// Seen to fail: with the layers of a trial marked as resting instead of failed.
    @Test("a layer that is switched off, on standby or made to fail is not computed, and each says why")
    func reasons() {
        var machine = LayerMachine()
        machine.options = LayerMachine.Options(off: [.direct], standby: true)
        machine.kill([.crossMarket], until: .seconds(10))
        let plan = machine.begin(now: .seconds(1))
        #expect(plan.states[.direct]?.state == .standby && plan.states[.direct]?.reason == "switched off by LAYERS_OFF")
        #expect(plan.states[.crossDomain]?.state == .standby)
        #expect(plan.states[.crossMarket]?.state == .failed && plan.states[.crossEvent] == nil)
        // Rest by choice is no trouble; a failure is.
        #expect(machine.troubles(now: .seconds(1)) == ["L2: made to fail by a chaos trial"])
        #expect(machine.standing(now: .seconds(11)).failing.isEmpty)
    }

    /// Seen to fail: with a pace that admits everything.
    @Test("no more graphs are built a second than may be; those of one evaluation are not torn apart")
    func pace() {
        var pace = GraphPace(rate: 100)
        var built = 0
        for step in 0..<1_000 {
            let now = Duration.milliseconds(step * 10)
            guard pace.admits(now: now) else { continue }
            pace.spend(30)
            built += 30
        }
        // Ten seconds, the first second's worth from the beginning, and at most one evaluation over.
        #expect((1_000...1_130).contains(built), "\(built)")
        pace.set(rate: 0)
        let isUnlimited = pace.admits(now: .seconds(11))
        #expect(isUnlimited)
    }

    /// Layers of an event's stored graph by code: state and reason.
    private static func stored(_ event: String, _ pool: PostgresPool) async throws -> [Layer: LayerReport] {
        let graph = try await ColdGraphReader(pool: pool).graph(event)?.graph
        return Dictionary((graph?.layers ?? []).map { ($0.layer, $0) }, uniquingKeysWith: { first, _ in first })
    }

    /// Seen to fail: with a circuit that never opens.
    @Test("every state a circuit enters is counted, also the short one; a layer at rest is part of no trial")
    func changes() async throws {
        let registry = MetricsRegistry()
        let layers = LayerControl(
            rule: CircuitBreaker.Rule(failures: 1, window: .seconds(60), pause: .milliseconds(200)), factory: registry)
        func lines(_ name: String) -> [Substring] {
            registry.exposition().split(separator: "\n").filter {
                $0.hasPrefix("correlation_engine_circuit_\(name){circuit=\"L2\"")
            }
        }
        func evaluate(_ state: LayerReport.State) {
            layers.evaluating { _ in
                [LayerReport(layer: .crossMarket, state: state, reason: "r")]
            }
        }
        evaluate(.ok)
        #expect(lines("changes_total").allSatisfy { $0.hasSuffix(" 0") })
        evaluate(.failed)
        #expect(lines("state").contains { $0.contains("open\"} 1") })
        try await Task.sleep(for: .milliseconds(250))
        evaluate(.ok)
        let changes = lines("changes_total")
        #expect(changes.count == 3 && changes.allSatisfy { $0.hasSuffix(" 1") }, "\(changes)")
        #expect(lines("state").contains { $0.contains("closed\"} 1") })

        let all = ChaosTrial.Plan(kind: .allLayers, layers: Layer.allCases, seconds: 1)
        #expect(try all.leaving(out: [.crossDomain]).layers == [.direct, .crossMarket, .crossEvent])
        let one = ChaosTrial.Plan(kind: .layer, layers: [.crossDomain], seconds: 1)
        #expect(throws: Problem.self) { try one.leaving(out: [.crossDomain]) }
        #expect(try ChaosTrial.Plan(kind: .memory, seconds: 1).leaving(out: [.direct]).kind == .memory)
    }

    @Test(
        "a layer that comes back at any moment, also while an evaluation without it is under way, is in the graphs again",
        .timeLimit(.minutes(2)))
    func backAtAnyMoment() async throws {
        try await TestDatabase.with { database in
            try await database.withPool { pool in
                // A clock that goes on by a second whenever it is read.
                let seconds = Mutex(0)
                let layers = LayerControl(rule: CircuitBreaker.Rule(failures: 1_000)) {
                    seconds.withLock {
                        $0 += 1
                        return .seconds($0)
                    }
                }
                let replica = Replica(pool, name: "one", partnerWait: .zero, layers: layers)
                try await Feed.store(
                    Feed.observations(domain: "a", events: ["alpha", "beta"], markets: ["m"], count: 200), in: pool)
                try await replica.work()
                let before = try await Feed.graphIDs(in: pool)
                var wasWithout = false
                for readings in 1...16 {
                    layers.kill(Layer.allCases, for: .seconds(readings))
                    try await replica.work()
                    wasWithout = try await Feed.graphIDs(in: pool) != before || wasWithout
                    for _ in 0..<12 { try await replica.work() }
                    #expect(try await Feed.graphIDs(in: pool) == before, "\(readings) readings of the clock")
                }
                #expect(wasWithout)
            }
        }
    }

    @Test(
        "graphs say which layer failed and why, keep the others, and are made again when it is back",
        .timeLimit(.minutes(2)))
    func graphs() async throws {
        try await TestDatabase.with { database in
            try await database.withPool { pool in
                let layers = LayerControl(
                    rule: CircuitBreaker.Rule(failures: 2, window: .seconds(60), pause: .milliseconds(300)))
                let replica = Replica(pool, name: "one", partnerWait: .zero, layers: layers)
                try await Feed.store(
                    Feed.observations(domain: "a", events: ["alpha", "beta"], markets: ["m", "n"], count: 300), in: pool
                )
                try await replica.work()
                let before = try await Feed.graphIDs(in: pool)
                let healthy = try await ColdGraphReader(pool: pool).graph("alpha")?.graph
                #expect(healthy?.edges.contains { $0.layer == .crossEvent } == true)
                #expect(healthy?.edges.contains { $0.layer == .crossMarket } == true)
                layers.kill([.crossEvent], for: .milliseconds(600))
                try await replica.work()
                let failed = try await Self.stored("alpha", pool)
                #expect(failed[.crossEvent]?.state == .failed && failed[.crossEvent]?.reason?.contains("chaos") == true)
                #expect(failed[.crossMarket]?.state == .ok && failed[.crossMarket] == healthy?.layers[1])
                let during = try await ColdGraphReader(pool: pool).graph("alpha")?.graph
                #expect(during?.edges.contains { $0.layer == .crossEvent } == false)
                // What explains an edge may lie on the layer that is away; its numbers do not.
                func numbers(_ graph: CorrelationGraph?) -> [Double] {
                    (graph?.edges ?? []).filter { $0.layer == .crossMarket }.flatMap {
                        [$0.score, $0.confidence, $0.pValue]
                    }
                }
                #expect(numbers(during) == numbers(healthy))
                // Its id tells it from the whole one, and it verifies as what it was.
                let id = try #require(try await Feed.graphIDs(in: pool)["alpha"])
                #expect(id != before["alpha"])
                guard case .equal = try await GraphVerifier(pool: pool).verify(id) else {
                    Issue.record("a graph without a layer does not verify")
                    return
                }
                try await Task.sleep(for: .milliseconds(700))
                // The circuit may need a trial first.
                for _ in 0..<20 where try await Feed.graphIDs(in: pool) != before {
                    try await replica.work()
                    try await Task.sleep(for: .milliseconds(100))
                }
                #expect(try await Feed.graphIDs(in: pool) == before)
                let after = try await ColdGraphReader(pool: pool).graph("alpha")?.graph
                #expect(after?.edges.map(\.detectedAt) == healthy?.edges.map(\.detectedAt))
                layers.set(LayerMachine.Options(off: Set(Layer.allCases)))
                try await replica.work()
                let off = try await Self.stored("beta", pool)
                #expect(off.count == 4 && off.values.allSatisfy { $0.state == .standby && $0.reason != nil })
            }
        }
    }

    /// Seen to fail: with the place in the log kept.
    @Test("an evaluation worker that loses everything comes to the same graphs, and nothing is stored twice")
    func workerDies() async throws {
        try await TestDatabase.with { database in
            try await database.withPool { pool in
                let observations = Feed.observations(
                    domain: "a", events: ["alpha", "beta"], markets: ["m", "n"], count: 300)
                try await Feed.store(observations, in: pool)
                let replica = Replica(pool, name: "one", batchEvaluations: 20, partnerWait: .zero)
                try await replica.work()
                let (graphs, evaluations) = (try await Feed.graphIDs(in: pool), try await Feed.evaluations(in: pool))
                await replica.engine.die()
                #expect(replica.graphs.eventCount == 0)
                try await replica.work()
                #expect(try await Feed.graphIDs(in: pool) == graphs)
                #expect(try await Feed.evaluations(in: pool) == evaluations)
                #expect(replica.graphs.eventCount == 2)
            }
        }
    }

    @Test("a worker that loses everything in the middle of its work, whenever that is, comes to the same graphs")
    func workerDiesAtWork() async throws {
        try await TestDatabase.with { database in
            try await database.withPool { pool in
                try await Feed.store(
                    Feed.observations(domain: "a", events: ["alpha", "beta"], markets: ["m", "n"], count: 300), in: pool
                )
                let replica = Replica(pool, name: "one", batchEvaluations: 20, partnerWait: .zero)
                try await replica.work()
                let graphs = try await Feed.graphIDs(in: pool)
                for turn in 0..<20 {
                    async let working: Void = replica.work()
                    try await Task.sleep(for: .microseconds(turn * 300))
                    await replica.engine.die()
                    try await working
                    try await replica.work()
                    #expect(replica.graphs.eventCount == 2, "turn \(turn)")
                    #expect(try await Feed.graphIDs(in: pool) == graphs, "turn \(turn)")
                }
            }
        }
    }
}
