import CoreMetrics
import Model
import ServiceRuntime
import Synchronization

/// The ``LayerMachine`` of this replica, with a clock and metrics.
final class LayerControl: Sendable {
    private let machine: Mutex<LayerMachine>
    private let metrics: [Layer: CircuitMetrics]
    /// Time since some moment before.
    private let clock: @Sendable () -> Duration

    init(
        rule: CircuitBreaker.Rule = CircuitBreaker.Rule(), factory: any MetricsFactory = MetricsSystem.factory,
        clock: (@Sendable () -> Duration)? = nil
    ) {
        let start = ContinuousClock.now
        self.clock = clock ?? { ContinuousClock.now - start }
        self.machine = Mutex(LayerMachine(rule: rule))
        self.metrics = Dictionary(
            uniqueKeysWithValues: Layer.allCases.map { ($0, CircuitMetrics($0.code, factory: factory)) })
        self.note()
    }

    private var now: Duration { self.clock() }

    func set(_ options: LayerMachine.Options) { self.machine.withLock { $0.options = options } }

    func kill(_ layers: some Sequence<Layer>, for duration: Duration) {
        let end = self.now + duration
        self.machine.withLock { $0.kill(layers, until: end) }
    }

    var standing: LayerMachine.Standing { self.machine.withLock { $0.standing(now: self.now) } }
    var troubles: [String] { self.machine.withLock { $0.troubles(now: self.now) } }

    /// State of each layer's circuit by its code.
    var circuits: [String: String] {
        self.machine.withLock { machine in
            Dictionary(
                uniqueKeysWithValues: Layer.allCases.map {
                    ($0.code, machine.breaker($0).state(now: self.now).rawValue)
                })
        }
    }

    /// Runs one evaluation under what layers may do now, and learns from its outcome.
    func evaluating(_ body: (LayerMachine.Plan) -> [LayerReport]) {
        let plan = self.machine.withLock { $0.begin(now: self.now) }
        // A circuit is half open for as long as this takes.
        self.note()
        let reports = body(plan)
        _ = self.machine.withLock { $0.finish(plan, outcome: reports, now: self.now) }
        self.note()
    }

    private func note() {
        let now = self.now
        let states = self.machine.withLock { machine in
            Layer.allCases.map { ($0, machine.breaker($0).state(now: now), machine.breaker($0).reason) }
        }
        for (layer, state, reason) in states { self.metrics[layer]?.note(state, reason: reason) }
    }
}
