import Model

/// Ranks events by how likely each is the cause of what happened in a window, from series alone.
///
/// Values are compared on a log scale against a robust, pooled scale; a change must be held; evidence is bounded; impact is
/// blamed down the calls, load up. Deterministic; O(n B log B + 20 x calls) for n nodes and B baseline buckets.
/// The method, its measured hit rates and its limits are in docs/engine.md.
public enum RootCauseRanking {
    /// Most witnesses and accusers named per candidate.
    public static let witnessLimit = 5
    /// Median `strength` of quiet windows and of faults on the recordings the method was chosen on; between the first and
    /// its 90 % point (1.5) a ranking is noise.
    public static let quietStrength = 1.5

    /// - Precondition: `parameters` are as ``RootCauseParameters`` states them.
    public static func rank(
        _ input: RootCauseInput, parameters: RootCauseParameters = RootCauseParameters()
    ) -> RootCauseReport {
        precondition(parameters.areValid, "parameters of root causes out of range")
        let change = HeldChange(input, parameters)
        let graph = CallGraph(input)
        let evidence = RootCauseEvidence(input, change: change, graph: graph, parameters: parameters)
        let walk = BlameWalk(
            graph: graph, evidence: evidence, splitsLocal: input.target == nil, parameters: parameters)
        let candidates = graph.events.indices.map { event in
            let total = evidence.local[event] + evidence.impact[event]
            return RootCauseReport.Candidate(
                event: graph.events[event], score: walk.absorbed[event] + 1e-6 * total,
                share: walk.absorbed[event], local: evidence.local[event], impact: evidence.impact[event],
                loadResidual: evidence.loadResidual[event],
                witnesses: Array(evidence.nodes[event].prefix(Self.witnessLimit)),
                accusers: Self.accusers(of: event, graph, evidence, walk))
        }
        let strength = zip(candidates, evidence.falls).map { $0.local + $0.impact - $1 }.max() ?? 0
        return RootCauseReport(
            candidates: Self.bestFirst(candidates), callGraph: graph.origin, callCount: graph.edges.count,
            strength: strength, notes: Self.notes(origin: graph.origin, strength: strength, input: input))
    }

    /// Swift's sort is stable in fact but not by contract, so the order of declaration is part of the key.
    private static func bestFirst(_ candidates: [RootCauseReport.Candidate]) -> [RootCauseReport.Candidate] {
        candidates.enumerated()
            .sorted {
                $0.element.score != $1.element.score ? $0.element.score > $1.element.score : $0.offset < $1.offset
            }
            .map(\.element)
    }

    private static func accusers(
        of event: Int, _ graph: CallGraph, _ evidence: RootCauseEvidence, _ walk: BlameWalk
    ) -> [RootCauseReport.Accuser] {
        let passed = graph.incoming[event].compactMap { position -> RootCauseReport.Accuser? in
            guard walk.passed[position] > 0 else { return nil }
            return .init(
                event: graph.events[graph.edges[position].caller], reason: .passedBlame,
                evidence: walk.passed[position])
        }
        let all = (evidence.accusers[event] + passed).filter { $0.evidence > 0 }
        return Array(
            all.sorted {
                $0.evidence != $1.evidence
                    ? $0.evidence > $1.evidence
                    : ($0.event, $0.reason.rawValue) < ($1.event, $1.reason.rawValue)
            }.prefix(Self.witnessLimit))
    }

    private static func notes(
        origin: RootCauseReport.CallGraphOrigin, strength: Double, input: RootCauseInput
    ) -> [String] {
        var notes: [String] = []
        if origin == .none {
            notes.append(
                "No call graph is known, neither declared nor from call series: who is called is guessed from what moved together before, so only faults that show in a component's own series are found with some certainty."
            )
        }
        if strength < Self.quietStrength {
            notes.append(
                "Nothing in the window stands out from its baseline (strength below \(Self.quietStrength)): the ranking is the least quiet first, not a fault."
            )
        }
        if input.windowLength < RootCauseParameters().hold {
            notes.append("The window has fewer than two buckets, so a single spike can pass for a change.")
        }
        return notes
    }
}
