import Model

/// Puts the edges that raw ticks gave beside those of the regular clock.
struct TickEdges {
    let input: EvaluationInput

    /// The tick edges of one event, as of when they were accepted first.
    ///
    /// - Parameters:
    ///   - report: gets pairs that only their ticks show counted as accepted.
    ///   - regular: the edges of the same pairs on the clock.
    ///   - untested: pairs of L1 the clock could not test.
    func edges(
        event: String, report: inout LayerReport, beside regular: [Edge],
        untested: some Sequence<(nodes: Set<NodeKey>, status: SettledPair.Status)>
    ) -> [Edge] {
        guard var edges = self.input.tickEdges[event], !edges.isEmpty else { return [] }
        let statuses = Dictionary(untested.lazy.map { ($0.nodes, $0.status) }) { first, _ in first }
        var known = Set(regular.map { Set([$0.source, $0.target]) })
        for index in edges.indices {
            edges[index].detectedAt = self.input.detectedAt[EdgeKey(edges[index])] ?? self.input.block.windowEnd
            let pair = Set([edges[index].source, edges[index].target])
            guard known.insert(pair).inserted else { continue }
            report.accepted += 1
            switch statuses[pair] {
            case .short: report.short -= 1
            case .constant: report.constant -= 1
            case .tested, nil: break
            }
        }
        return edges
    }
}
