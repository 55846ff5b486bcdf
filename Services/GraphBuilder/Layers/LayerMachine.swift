import Model
import ServiceRuntime

/// Which layers may be computed now, and why not the others: switched off, on standby, made to fail, or left alone after failing.
/// A value that is told the time; ``LayerControl`` gives it a clock and a lock.
struct LayerMachine: Sendable {
    struct Options: Hashable, Sendable {
        /// Not computed at all.
        var off: Set<Layer> = []
        /// Whether L4, the dearest layer, waits to be wanted.
        var standby = false
    }

    /// What one evaluation may compute.
    struct Plan: Sendable {
        /// Layers that are not to be computed, as the engine is told.
        var states: [Layer: (state: LayerReport.State, reason: String)] = [:]
        /// Layers whose outcome decides a circuit that is half open.
        var trials: Set<Layer> = []

        var standing: Standing {
            Standing(
                resting: Set(self.states.filter { $0.value.state == .standby }.keys),
                failing: Set(self.states.filter { $0.value.state == .failed }.keys))
        }
    }

    var options = Options()
    private var breakers: [Layer: CircuitBreaker]
    private var killedUntil: [Layer: Duration] = [:]

    init(rule: CircuitBreaker.Rule = CircuitBreaker.Rule()) {
        self.breakers = Dictionary(
            uniqueKeysWithValues: Layer.allCases.map { ($0, CircuitBreaker(rule: rule)) })
    }

    /// Makes a layer fail until then.
    mutating func kill(_ layers: some Sequence<Layer>, until end: Duration) {
        for layer in layers { self.killedUntil[layer] = end }
    }

    func breaker(_ layer: Layer) -> CircuitBreaker { self.breakers[layer] ?? CircuitBreaker() }

    private func isKilled(_ layer: Layer, now: Duration) -> Bool { self.killedUntil[layer].map { now < $0 } ?? false }

    /// Switched off or on standby: nobody's failure.
    private func rest(_ layer: Layer) -> (state: LayerReport.State, reason: String)? {
        if self.options.off.contains(layer) { return (.standby, "switched off by LAYERS_OFF") }
        if layer == .crossDomain, self.options.standby { return (.standby, "L4_MODE is standby") }
        return nil
    }

    /// What the next evaluation may compute. Must be followed by ``finish(_:outcome:now:)``.
    mutating func begin(now: Duration) -> Plan {
        var plan = Plan()
        for layer in Layer.allCases {
            if let rest = self.rest(layer) {
                plan.states[layer] = rest
                continue
            }
            let wasOpen = self.breaker(layer).state(now: now) != .closed
            guard self.breakers[layer]?.admits(now: now) ?? true else {
                plan.states[layer] = (.failed, self.breaker(layer).reason)
                continue
            }
            if self.isKilled(layer, now: now) {
                let reason = "made to fail by a chaos trial"
                self.breakers[layer]?.failed(reason, now: now)
                plan.states[layer] = (.failed, reason)
            } else if wasOpen {
                plan.trials.insert(layer)
            }
        }
        return plan
    }

    /// - Parameter outcome: the layers of all events evaluated; empty when nothing came of it.
    /// - Returns: layers that failed now.
    mutating func finish(_ plan: Plan, outcome: [LayerReport], now: Duration) -> Set<Layer> {
        var failed: Set<Layer> = []
        for layer in Layer.allCases where plan.states[layer] == nil {
            let reports = outcome.filter { $0.layer == layer }
            if let failure = reports.first(where: { $0.state == .failed }) {
                self.breakers[layer]?.failed(failure.reason ?? "it could not be computed", now: now)
                failed.insert(layer)
            } else if !reports.isEmpty {
                self.breakers[layer]?.succeeded()
            } else if plan.trials.contains(layer) {
                self.breakers[layer]?.abandoned()
            }
        }
        return failed
    }

    /// What evaluations come to at this moment: one that was made under another one is made again.
    func standing(now: Duration) -> Standing {
        var standing = Standing()
        for layer in Layer.allCases {
            if self.rest(layer) != nil {
                standing.resting.insert(layer)
            } else if self.isKilled(layer, now: now) || self.breaker(layer).state(now: now) == .open {
                standing.failing.insert(layer)
            }
        }
        return standing
    }

    struct Standing: Hashable, Sendable {
        var resting: Set<Layer> = []
        var failing: Set<Layer> = []
    }

    /// Sentences for `/health`, by layer; empty when all is well. Rest by choice is none of them.
    func troubles(now: Duration) -> [String] {
        Layer.allCases.compactMap { layer in
            guard self.rest(layer) == nil else { return nil }
            let breaker = self.breaker(layer)
            if breaker.state(now: now) != .closed { return "\(layer.code): \(breaker.reason)" }
            return self.isKilled(layer, now: now) ? "\(layer.code): made to fail by a chaos trial" : nil
        }
    }
}

extension LayerMachine.Standing {
    /// What a finished evaluation was made under.
    init(_ reports: [LayerReport]) {
        for report in reports {
            if report.state == .standby { self.resting.insert(report.layer) }
            if report.state == .failed { self.failing.insert(report.layer) }
        }
    }
}
