import Foundation

/// Blame walks down the calls until it meets an event that is anomalous with no anomalous callee: step 6 of the method.
///
/// At an event the walk stays with weight local + max(0, impact - strongest callee weight) and goes to each callee with
/// weight (surprise of the call series, else the callee's impact) to the power `sharpness`. Cost: O(steps x edges).
struct BlameWalk: Sendable {
    /// Mass absorbed at each event; sums to 1 unless there is no evidence at all.
    let absorbed: [Double]
    /// Mass that went over each edge of the graph.
    let passed: [Double]

    /// - Parameter splitsLocal: whether local evidence is absorbed where it is instead of walking.
    init(
        graph: CallGraph, evidence: RootCauseEvidence, splitsLocal: Bool, parameters: RootCauseParameters
    ) {
        let count = graph.events.count
        var stay = [Double](repeating: 1, count: count)
        var move = [Double](repeating: 0, count: graph.edges.count)
        for event in 0..<count {
            let weights = graph.outgoing[event].map { position in
                let edge = graph.edges[position]
                return pow(evidence.calls[edge] ?? evidence.impact[edge.callee], parameters.sharpness)
            }
            let own = evidence.local[event] + max(0, evidence.impact[event] - (weights.max() ?? 0))
            let total = own + weights.reduce(0, +)
            guard total > 0 else { continue }
            stay[event] = own / total
            for (position, weight) in zip(graph.outgoing[event], weights) { move[position] = weight / total }
        }
        let sum = (0..<count).reduce(0) { $0 + evidence.local[$1] + evidence.impact[$1] }
        let whole = sum == 0 ? 1 : sum
        var walking = (0..<count).map { event in
            (splitsLocal ? evidence.impact[event] : evidence.local[event] + evidence.impact[event]) / whole
        }
        var absorbed = splitsLocal ? evidence.local.map { $0 / whole } : [Double](repeating: 0, count: count)
        var passed = [Double](repeating: 0, count: graph.edges.count)
        for _ in 0..<parameters.steps {
            var next = [Double](repeating: 0, count: count)
            for event in 0..<count { absorbed[event] += walking[event] * stay[event] }
            for (position, edge) in graph.edges.enumerated() {
                let flow = walking[edge.caller] * move[position]
                next[edge.callee] += flow
                passed[position] += flow
            }
            walking = next
        }
        self.absorbed = zip(absorbed, walking).map { $0 + $1 }
        self.passed = passed
    }
}
