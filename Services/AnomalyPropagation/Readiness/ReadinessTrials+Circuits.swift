import Foundation
import Model
import NIOHTTP1

/// Layers that are made to fail: what graphs, `/health` and circuits say of it.
extension ReadinessTrials {
    /// What the circuit of a layer has done, over all replicas that are known.
    private struct CircuitLook {
        /// Replicas that leave the layer alone now.
        var open: Double
        /// How often each state was entered.
        var opened: Double
        var halfOpened: Double
        var closed: Double

        init(_ layer: String, _ metrics: MetricsText) {
            func value(_ name: String, _ state: String) -> Double {
                metrics.value(#"correlation_engine_circuit_\#(name){circuit="\#(layer)",state="\#(state)"}"#) ?? 0
            }
            self.open = value("state", "open")
            self.opened = value("changes_total", "open")
            self.halfOpened = value("changes_total", "halfOpen")
            self.closed = value("changes_total", "closed")
        }
    }

    private func circuit(_ layer: String) async throws -> CircuitLook {
        CircuitLook(layer, try await self.metrics("graph-builder"))
    }

    private func health() async throws -> (status: String?, reasons: [String]) {
        let health = try await self.probe.call(.GET, "/health", key: "").json
        return (health["status"] as? String, health["reasons"] as? [String] ?? [])
    }

    /// One layer is made to fail until its circuit opens: open, tried again while half open, closed.
    func circuitBreaker() async throws -> ReadinessFinding {
        let graph = try await self.soundGraph()
        let layers = SystemProbe.layers(try await self.probe.graph(graph.event))
        // One that rests by choice cannot fail.
        guard let layer = ["L2", "L1", "L3", "L4"].first(where: { ["ok", "degraded"].contains(layers[$0]?.state) })
        else { return .fail("no layer of \(graph.event) is computed") }
        let before = try await self.circuit(layer)
        let trial = try await self.failLayers(of: graph.event) {
            #"{"kind":"layer","layer":"\#(layer)","seconds":\#($0)}"#
        } promised: {
            let layers = SystemProbe.layers(try await self.probe.graph(graph.event))
            guard layers[layer]?.state == "failed", !(layers[layer]?.reason.isEmpty ?? true),
                layers.allSatisfy({ $0.key == layer || $0.value.state != "failed" })
            else { return false }
            return try await self.health().status == "DEGRADED"
        }
        guard let (broken, failed) = trial else { return Self.refused }
        var evidence = broken
        let opened = try await self.open(layer, of: graph.event, since: before)
        let back = await self.probe.until(seconds: Self.patienceSeconds) {
            let now = try await self.circuit(layer)
            return try await self.probe.someGraphIs(graph) && now.open == 0 && now.closed > before.closed
        }
        let after = try await self.circuit(layer)
        evidence["layer"] = layer
        evidence["failedAlone"] = failed.map(Self.milliseconds) ?? "never"
        evidence["circuitOpen"] = opened ?? "never"
        evidence["circuitHalfOpen"] = "\(Int(after.halfOpened - before.halfOpened)) times"
        evidence["circuitClosed"] = "\(Int(after.closed - before.closed)) times"
        evidence["backAfter"] = back.map(Self.milliseconds) ?? "never"
        return .judge(
            failed != nil && opened != nil && after.halfOpened > before.halfOpened && back != nil,
            "the layer did not fail alone and show, or its circuit did not open, try and close", evidence)
    }

    /// A system in which little is evaluated needs several short trials until there are enough failures.
    /// - Returns: what `/health` says of the open circuit; nil when it never opened.
    private func open(_ layer: String, of event: String, since before: CircuitLook) async throws -> String? {
        var told: String?
        for _ in 0..<Self.openingTrials {
            let seen = await self.probe.until(seconds: 5) {
                let now = try await self.circuit(layer)
                guard now.opened > before.opened, now.open > 0 else { return false }
                told = try await self.health().reasons.first { $0.contains("\(layer): its circuit is open") }
                return told != nil
            }
            if seen != nil { return told }
            _ = try await self.breakSomething(#"{"kind":"layer","layer":"\#(layer)","seconds":2}"#, at: event)
        }
        return nil
    }

    /// With five seconds each they lie within the minute in which failures count.
    private static let openingTrials = 10

    func gracefulDegradation() async throws -> ReadinessFinding {
        let graph = try await self.soundGraph()
        var (health, isReady): (String?, Int) = (nil, 0)
        var resting: [String] = []
        // In one go: the trial may be over before a busy machine gets to the next question.
        let trial = try await self.failLayers(of: graph.event) {
            #"{"kind":"allLayers","seconds":\#($0)}"#
        } promised: {
            let answer = try await self.probe.graph(graph.event)
            let layers = SystemProbe.layers(answer)
            guard answer.status == 200, answer.json["complete"] as? Bool == false, layers.count == 4,
                let rest = Self.resting(layers)
            else { return false }
            resting = rest
            health = try await self.health().status
            isReady = try await self.probe.call(.GET, "/readyz", key: "").status
            return health == "DEGRADED" && isReady == 200
        }
        guard let (broken, said) = trial else { return Self.refused }
        var evidence = broken
        let back = await self.probe.until(seconds: Self.patienceSeconds) { try await self.probe.someGraphIs(graph) }
        evidence["saidWhyAfter"] = said.map(Self.milliseconds) ?? "never"
        if !resting.isEmpty { evidence["resting"] = resting.joined(separator: "; ") }
        evidence["health"] = health ?? "not asked"
        evidence["ready"] = "\(isReady)"
        evidence["backAfter"] = back.map(Self.milliseconds) ?? "never"
        return .judge(said != nil && back != nil, "graphs did not say why, or health is not DEGRADED", evidence)
    }

    /// The layers that rest by choice, each with its reason.
    /// - Returns: nil unless all others have failed, one of them at least, and each layer says why.
    static func resting(_ layers: [String: (state: String, reason: String)]) -> [String]? {
        guard layers.values.allSatisfy({ ["failed", "standby"].contains($0.state) && !$0.reason.isEmpty }),
            layers.values.contains(where: { $0.state == "failed" })
        else { return nil }
        return layers.filter { $0.value.state == "standby" }.map { "\($0.key): \($0.value.reason)" }.sorted()
    }
}
