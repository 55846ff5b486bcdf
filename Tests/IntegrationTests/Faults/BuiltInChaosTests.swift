import Foundation
import Glibc
import Model
import TestSupport
import Testing

extension ProcessTests {
    @Suite("Faults: chaos that is built in", .serialized)
    struct BuiltInChaos {
        /// Seen to fail: with the layers of a trial marked as resting instead of failed.
        @Test(
            "each layer is made to fail, then all: graphs and health say which and why, the others stay, and all comes back"
        )
        func layers() async throws {
            let faults = try await FaultStack.shared()
            let whole = try await faults.graph()
            for name in ["L1", "L2", "L3", "L4", "all"] {
                let failing = name == "all" ? ["L1", "L2", "L3", "L4"] : [name]
                // Where a neighbour has the processors a short trial may be over before all was looked at.
                for seconds in [3, 15, 60] {
                    let seen = try await Self.fail(name, failing, seconds: seconds, faults)
                    // Longer than the pause of a circuit, which a few failures open.
                    try await faults.stack.eventually("\(name) is back", seconds: 60) {
                        let graph = try await faults.graph()
                        if graph.id != whole.id { throw RunningProgram.Failure(description: "\(graph) \(whole)") }
                        return true
                    }
                    try await faults.stack.eventually("health is well again", seconds: 10) {
                        try await faults.health().status == "HEALTHY"
                    }
                    guard let seen else { continue }
                    for other in seen.layers.values where !failing.contains(other.layer) {
                        #expect(other.state == "ok", "\(other)")
                    }
                    #expect(failing.allSatisfy { seen.layers[$0]?.state == "failed" }, "\(seen.layers)")
                    #expect(!seen.isComplete)
                    #expect(seen.health.status == "DEGRADED")
                    #expect(
                        failing.allSatisfy { layer in seen.health.reasons.contains { $0.hasPrefix(layer) } },
                        "\(seen.health)")
                    #expect(seen.readiness == 200)
                    let verdict = try await faults.verdict(on: seen.reply)
                    #expect(verdict.state == "met" && verdict.faults.isEmpty, "\(name): \(verdict)")
                    break
                }
            }
        }

        private struct FailingLayers {
            var reply: Reply
            var layers: [String: FaultStack.LayerState]
            var isComplete: Bool
            var health: FaultStack.Health
            var readiness: Int
        }

        /// Makes layers fail and looks at everything meanwhile.
        /// - Returns: nil when the trial was over before all was looked at, unless it was the longest.
        private static func fail(
            _ name: String, _ failing: [String], seconds: Int, _ faults: FaultStack
        ) async throws -> FailingLayers? {
            let json =
                name == "all"
                ? #"{"kind":"allLayers","seconds":\#(seconds)}"#
                : #"{"kind":"layer","layer":"\#(name)","seconds":\#(seconds)}"#
            let begin = ContinuousClock.now
            let reply = try await faults.chaos(json)
            #expect(reply.status == 200 && reply.text.contains("expectation"), "\(reply.text)")
            do {
                try await faults.stack.eventually("\(name) fails", seconds: Double(seconds)) {
                    let layers = try await faults.layers()
                    return failing.allSatisfy { layers[$0]?.state == "failed" && layers[$0]?.reason != nil }
                }
            } catch {
                if seconds < 60 { return nil }
                throw error
            }
            let graph = try await faults.graph()
            let seen = FailingLayers(
                reply: reply,
                layers: Dictionary(graph.layers.map { ($0.layer, $0) }, uniquingKeysWith: { first, _ in first }),
                isComplete: graph.complete, health: try await faults.health(),
                readiness: try await faults.stack.call("GET", "/readyz", key: nil).status)
            return seconds < 60 && begin.duration(to: .now) > .seconds(seconds) ? nil : seen
        }

        /// Seen to fail: with a limit of 60 s told to the server: reads are answered late, and none is counted.
        @Test(
            "a slow database ends interactive reads at QUERY_TIMEOUT_MS, on the server, and is counted; warm graphs are served"
        )
        func slowDatabase() async throws {
            let faults = try await FaultStack.shared()
            let metric = #"correlation_engine_query_timeouts_total{kind="interactive"}"#
            try faults.configure(["QUERY_TIMEOUT_MS": "50"])
            let before = try await faults.metric(metric)
            let reply = try await faults.chaos(#"{"kind":"slowDatabase","seconds":4,"delayMs":400}"#)
            #expect(reply.status == 200, "\(reply.text)")
            let begin = ContinuousClock.now
            let slow = try await faults.stack.get("/v1/events?limit=1")
            let took = begin.duration(to: .now)
            #expect(slow.status == 504 && slow.problem?.code == .deadlineExceeded, "\(slow.status) \(slow.text)")
            #expect(took < .milliseconds(1_500), "\(took)")
            #expect(try await faults.metric(metric) > before)
            #expect(try await faults.stack.get("/v1/correlation-graph?eventId=fast-one").status == 200)
            // Its own look at the trial goes by the limit in force.
            let verdict = try await faults.verdict(on: reply)
            #expect(verdict.state == "met", "\(verdict)")
            try faults.configure([:])
            try await faults.stack.eventually("reads pass again", seconds: 15) {
                try await faults.stack.get("/v1/events?limit=1").status == 200
            }
        }

        /// Seen to fail: with the place in the log kept by a worker that had lost everything else.
        @Test(
            "connections ended by the server, and a worker that lost everything: the next questions are answered, graphs are the same"
        )
        func connectionsAndWorkers() async throws {
            let faults = try await FaultStack.shared()
            let whole = try await faults.graph()
            for kind in ["connectionLoss", "workerKill", "workerKill", "workerKill"] {
                let reply = try await faults.chaos(#"{"kind":"\#(kind)"}"#)
                #expect(reply.status == 200, "\(reply.text)")
                try await faults.stack.eventually("reads pass after \(kind)", seconds: 15) {
                    try await faults.stack.get("/v1/events?limit=1").status == 200
                }
                try await faults.stack.eventually("the graph is the same after \(kind)", seconds: 30) {
                    try await faults.graph().id == whole.id
                }
                let verdict = try await faults.verdict(on: reply)
                #expect(verdict.state == "met", "\(kind): \(verdict)")
            }
            let evidence = Evidence(stack: faults.stack, plan: faults.plan)
            #expect(
                try await evidence.difference()
                    == Evidence.Difference(missing: 0, unexpected: 0, logged: Int64(faults.plan.rows)))
        }

        /// Seen to fail: with a guard that never comes to shedding.
        @Test(
            "at the memory ceiling building is shed with MEMORY_LIMIT_EXCEEDED, graphs are served, and it resumes by itself"
        )
        func memory() async throws {
            let faults = try await FaultStack.shared()
            let path = "/v1/events/fast-one/changes"
            #expect(try await faults.stack.get(path).status == 200)
            let resident = Int(try await faults.metric("process_resident_memory_bytes"))
            try faults.configure(["MEMORY_CEILING_BYTES": "\(max(64 << 20, resident + (96 << 20)))"])
            let reply = try await faults.chaos(#"{"kind":"memory","seconds":6}"#)
            #expect(reply.status == 200, "\(reply.text)")
            try await faults.stack.eventually("questions that build are shed", seconds: 5) {
                let reply = try await faults.stack.get(path)
                return reply.status == 503 && reply.problem?.code == .memoryLimitExceeded
                    && reply.problem?.retryAfter != nil
            }
            #expect(try await faults.metric("correlation_engine_memory_level") == 2)
            #expect(try await faults.health().reasons.contains { $0.contains("memory") })
            #expect(try await faults.stack.get("/v1/correlation-graph?eventId=fast-one").status == 200)
            try await faults.stack.eventually("building goes on", seconds: 30) {
                try await faults.stack.get(path).status == 200
            }
            let verdict = try await faults.verdict(on: reply)
            #expect(verdict.state == "met", "\(verdict)")
            try faults.configure([:])
        }

        /// Seen to fail: with layers that are not told of the new configuration.
        @Test(
            "layers, workers, instructions and limits change by reading the configuration again; a bad one changes nothing"
        )
        func reload() async throws {
            let faults = try await FaultStack.shared()
            let whole = try await faults.graph()
            try faults.configure(["LAYERS_OFF": "L2", "L4_MODE": "standby"])
            try await faults.stack.eventually("L2 and L4 rest", seconds: 15) {
                let layers = try await faults.layers()
                return layers["L2"]?.reason == "switched off by LAYERS_OFF" && layers["L4"]?.state == "standby"
                    && layers["L1"]?.state == "ok"
            }
            // Rest by choice is no trouble.
            #expect(try await faults.health().status == "HEALTHY")
            try faults.configure(["LAYERS_OFF": "L9"])
            try await faults.stack.eventually("the fault is counted", seconds: 10) {
                try await faults.metric("config_reload_failures_total") >= 1
            }
            #expect(try await faults.layers()["L2"]?.state == "standby")
            // Without a signal: the file is looked at every two seconds.
            let (threads, vectors) = ("correlation_engine_worker_threads", "correlation_engine_simd_enabled")
            try faults.configure(["USE_WORKER_THREADS": "false", "ENABLE_SIMD": "false"], bySignal: false)
            try await faults.stack.eventually("all layers are back, and come to the same graph", seconds: 30) {
                let graph = try await faults.graph()
                if graph.id != whole.id { throw RunningProgram.Failure(description: "\(graph) \(whole)") }
                return true
            }
            // What an evaluation did use, not what was asked for.
            let used = (try await faults.metric(threads), try await faults.metric(vectors))
            #expect(used == (1, 0))
            try faults.configure([:])
            let cores = Double(ProcessInfo.processInfo.activeProcessorCount)
            try await faults.stack.eventually("threads and instructions are used again", seconds: 30) {
                let used = (try await faults.metric(threads), try await faults.metric(vectors))
                return used == (min(64, cores), 1)
            }
        }

        /// Seen to fail: with a pace that admits everything.
        @Test("a limit of graphs a second is kept to from the moment it is read, and gone with the next reading")
        func pace() async throws {
            let faults = try await FaultStack.shared()
            let whole = try await faults.graph()
            // Each event's graph is to be made anew without L2: six graphs, one at once and one a second.
            let began = ContinuousClock.now
            try faults.configure(["MAX_GRAPHS_PER_SECOND": "1", "LAYERS_OFF": "L2"])
            func rest(_ isResting: Bool) async throws {
                let events = Set(ObservationPlan.nodes.map(\.event))
                try await faults.stack.eventually("graphs of all events are made anew", seconds: 60) {
                    for event in events where try await (faults.layers(event)["L2"]?.state == "standby") != isResting {
                        return false
                    }
                    return true
                }
            }
            try await rest(true)
            #expect(began.duration(to: .now) >= .seconds(2), "\(began.duration(to: .now))")
            try faults.configure([:])
            try await rest(false)
            try await faults.stack.eventually("the graph is as before", seconds: 30) {
                try await faults.graph().id == whole.id
            }
        }

        /// Seen to fail: with a gateway that does not take what it has read.
        @Test("limits of the gateway change by reading its configuration again, in both directions")
        func gatewayLimits() async throws {
            let faults = try await FaultStack.shared()
            let path = "/v1/correlation-graph?eventId=fast-one"
            #expect(try await faults.stack.get(path).header("ratelimit-policy")?.contains("q=300") == true)
            try faults.configureGateway(["RATE_LIMITER_TOKENS": "2", "RATE_LIMITER_REFILL_RATE": "0.02"])
            try await faults.stack.eventually("the limit is reached", seconds: 15) {
                let reply = try await faults.stack.get(path)
                return reply.status == 429 && reply.problem?.detail.contains("may send 2 requests") == true
                    && reply.header("ratelimit-policy")?.contains("q=2") == true
            }
            try faults.configureGateway([:])
            // Sooner than the fifty seconds the narrow limit would have asked for.
            try await faults.stack.eventually("the caller is let in again", seconds: 15) {
                try await faults.stack.get(path).status == 200
            }
            try faults.configureGateway(["REQUEST_TIMEOUT_MS": "1"])
            try await faults.stack.eventually("requests have a millisecond", seconds: 15) {
                let reply = try await faults.stack.get("/v1/anomalies?limit=200")
                return reply.status == 504
            }
            try faults.configureGateway([:])
            try await faults.stack.eventually("requests have their time again", seconds: 15) {
                try await faults.stack.get("/v1/anomalies?limit=200").status == 200
            }
        }

        /// Seen to fail: without the mark on answers out of memory: they pass for fresh.
        @Test(
            "while the database is away graphs in memory are served and say that they are stale; afterwards all is as before"
        )
        func stale() async throws {
            let faults = try await FaultStack.shared()
            let whole = try await faults.graph()
            let path = "/v1/correlation-graph?eventId=fast-one"
            try faults.stack.cluster.stopServer(immediately: true)
            do {
                // The lease is trusted for a second; then memory is all there is.
                try await faults.stack.eventually("the graph is marked stale", seconds: 20) {
                    let reply = try await faults.stack.get(path)
                    return reply.status == 200 && reply.text.contains(#""state":"stale""#)
                }
                let graph = try await faults.graph()
                #expect(graph.id == whole.id)
                #expect(
                    graph.layers.allSatisfy { $0.state == "stale" && $0.reason?.contains("database") == true },
                    "\(graph)")
                #expect(try await faults.stack.get(path).header("etag") == nil)
                #expect(try await faults.metric("correlation_engine_stale_answers_total") >= 1)
                // What memory does not hold is refused with the time to come back.
                let events = try await faults.stack.get("/v1/events?limit=1")
                #expect(events.status == 503 && events.problem?.retryAfter != nil, "\(events.text)")
                try faults.configure(["FAILOVER_ENABLED": "false"])
                try await faults.stack.eventually("without failover it is 503", seconds: 10) {
                    try await faults.stack.get(path).status == 503
                }
                try faults.configure([:])
            } catch {
                try await faults.stack.cluster.startAgain()
                throw error
            }
            try await faults.stack.cluster.startAgain()
            try await faults.stack.eventually("the graph is as it was", seconds: 60) {
                let reply = try await faults.stack.get(path)
                guard reply.status == 200 else { return false }
                let graph = try await faults.graph()
                return graph.id == whole.id && !graph.layers.contains { $0.state == "stale" }
            }
        }

        /// Seen to fail: with CHAOS_ENABLED taken in the production profile.
        @Test("chaos needs the scope admin, and an installation that allows it")
        func refusals() async throws {
            let faults = try await FaultStack.shared()
            #expect(try await faults.chaos(#"{"kind":"allLayers"}"#, scopes: "ingest,read,configure").status == 403)
            #expect(try await faults.chaos(#"{"kind":"layer","layer":"L5"}"#).status == 400)
            #expect(try await faults.chaos(#"{"kind":"memory","seconds":301}"#).status == 400)
            let stack = try await Stack.shared()
            let reply = try await stack.call(
                "POST", "/v1/chaos", key: try await stack.key(scopes: "admin"),
                headers: [("Content-Type", "application/json")], body: Data(#"{"kind":"allLayers"}"#.utf8))
            #expect(reply.status == 403 && reply.text.contains("CHAOS_ENABLED"), "\(reply.text)")
            _ = try await stack.runToEnd("graph-builder", ["check-config"], ["CHAOS_ENABLED": "true"], expecting: 64)
        }
    }
}
