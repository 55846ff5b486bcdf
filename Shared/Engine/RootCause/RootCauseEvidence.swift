import Foundation
import Model

/// What speaks against each candidate: steps 4 and 5 of the method.
struct RootCauseEvidence: Sendable {
    /// The largest surprise of an event's impact nodes and of the call series into it.
    var impact: [Double]
    /// The largest local surprises beyond the event's own activity, plus the unexplained load changes of its callees.
    var local: [Double]
    /// The part of `local` that ranks without saying that anything is wrong.
    var falls: [Double]
    /// Surprise of the load change that no caller explains.
    private(set) var loadResidual: [Double]
    /// Surprise of the call series by edge.
    private(set) var calls: [CallGraph.Edge: Double] = [:]
    /// Largest first within an event: nodes that speak against it, its call series included.
    private(set) var nodes: [[RootCauseReport.Witness]]
    /// Who accuses each event besides its own nodes.
    var accusers: [[RootCauseReport.Accuser]]

    /// An event's load: change and scale in log units, and its surprise.
    private struct Load {
        let shift: Double
        let scale: Double
        let surprise: Double
    }

    init(
        _ input: RootCauseInput, change: HeldChange, graph: CallGraph, parameters: RootCauseParameters
    ) {
        let count = graph.events.count
        func surprise(_ strength: Double) -> Double { log1p(strength * strength / parameters.bend) }
        self.impact = [Double](repeating: 0, count: count)
        self.local = self.impact
        self.loadResidual = self.impact
        self.falls = self.impact
        self.nodes = [[RootCauseReport.Witness]](repeating: [], count: count)
        self.accusers = [[RootCauseReport.Accuser]](repeating: [], count: count)
        var loads = [Load?](repeating: nil, count: count)
        var markets = [[String: Double]](repeating: [:], count: count)

        for (position, node) in input.nodes.enumerated() where change.strength[position].isFinite {
            let strength = change.strength[position]
            let evidence = surprise(strength)
            let witness = RootCauseReport.Witness(node: node.key, strength: strength, evidence: evidence)
            if node.role == .call {
                guard let edge = graph.callByEvent[node.key.event] else { continue }
                self.calls[edge] = max(self.calls[edge] ?? 0, evidence)
                self.nodes[edge.callee].append(witness)
                continue
            }
            guard node.isCandidate, let event = graph.indexByEvent[node.key.event] else { continue }
            if let target = input.target, node.key.market != target.market || node.key.venue != target.venue {
                continue
            }
            self.nodes[event].append(witness)
            switch node.facts.kind {
            case .impact, .waiting: self.impact[event] = max(self.impact[event], evidence)
            case .load:
                loads[event] = Load(
                    shift: change.shift[position], scale: change.scale[position], surprise: evidence)
            case .local: markets[event][node.key.market] = max(markets[event][node.key.market] ?? 0, evidence)
            }
        }
        for event in 0..<count {
            let activity = loads[event]?.surprise ?? 0
            let beyond = markets[event].values.map { max(0, $0 - activity) }.sorted(by: >)
            self.local[event] = beyond.prefix(parameters.localMarkets).reduce(0, +)
        }
        self.chargeLoad(loads, graph: graph, surprise: surprise)
        self.chargeCalls(graph)
        self.excuseRemotes(graph)
        if graph.origin == .none, input.target == nil {
            self.suspectCalls(input, change: change, graph: graph, parameters: parameters)
        }
        for event in 0..<count {
            self.nodes[event].sort { ($0.evidence, $1.node) > ($1.evidence, $0.node) }
        }
    }

    /// Load flows from caller to callee: what the nearest caller's change does not explain is shared among the callers, one of
    /// which may have stopped calling. Without a known caller it is demand from outside, nobody's fault.
    private mutating func chargeLoad(_ loads: [Load?], graph: CallGraph, surprise: (Double) -> Double) {
        for (event, load) in loads.enumerated() {
            let callers = graph.incoming[event].map { graph.edges[$0].caller }
            guard let load, !callers.isEmpty else { continue }
            var unexplained = load.shift
            var nearest = Double.infinity
            for caller in callers {
                guard let other = loads[caller], abs(load.shift - other.shift) < nearest else { continue }
                nearest = abs(load.shift - other.shift)
                unexplained = load.shift - other.shift
            }
            let residual = surprise(unexplained / load.scale)
            self.loadResidual[event] = residual
            let portion = residual / Double(callers.count)
            for caller in callers {
                self.local[caller] += portion
                self.accusers[caller].append(
                    .init(event: graph.events[event], reason: .unexplainedLoad, evidence: portion))
            }
        }
    }

    /// An address outside is known from its callers alone, so it seems to suffer whenever they do: only what exceeds the
    /// impact of all components they call counts. A load balancer before a service then does not share its blame.
    private mutating func excuseRemotes(_ graph: CallGraph) {
        let impact = self.impact
        for event in graph.events.indices where graph.isRemote[event] {
            let callers = graph.incoming[event].map { graph.edges[$0].caller }
            let siblings = callers.flatMap { graph.outgoing[$0].map { graph.edges[$0].callee } }
            let explained = siblings.lazy.filter { !graph.isRemote[$0] }.map { impact[$0] }.max() ?? 0
            self.impact[event] = max(0, impact[event] - explained)
        }
    }

    /// A slow call accuses the one that was called.
    private mutating func chargeCalls(_ graph: CallGraph) {
        for (edge, evidence) in self.calls {
            self.impact[edge.callee] = max(self.impact[edge.callee], evidence)
            self.accusers[edge.callee].append(
                .init(event: graph.events[edge.caller], reason: .slowCall, evidence: evidence))
        }
    }
}
