import Model

/// Puts one event's graph together from its settled pairs: tests each layer as a family, ranks and explains the edges.
struct EventAssembly {
    let input: EvaluationInput
    /// Layers that could not be computed, and why.
    let failures: [Layer: String]
    let panels: [RankedPanel]
    /// By rank.
    let nodes: [NodeKey]

    init(input: EvaluationInput, failures: [Layer: String], panels: [SeriesPanel]) {
        self.input = input
        self.failures = failures
        (self.panels, self.nodes) = RankedPanel.ranked(panels)
    }

    /// - Parameters:
    ///   - counts: by layer (raw value - 1).
    ///   - settled: of all layers.
    func evaluation(event: String, counts: ArraySlice<PairCounts>, settled: [SettledPair]) -> EventEvaluation {
        var evaluation = EventEvaluation(event: event, layers: [], accepted: [])
        var arcs: [CommonNeighbours.Arc] = []
        // Where the edge of each arc stands among the accepted ones.
        var positions: [Int] = []
        for layer in Layer.allCases {
            var report = self.report(layer)
            guard report.state != .failed, report.state != .standby else {
                evaluation.layers.append(report)
                continue
            }
            let counts = counts[counts.startIndex + layer.rawValue - 1]
            let threshold = self.input.thresholds[layer]
            var family = EdgeFamily(
                layer: layer, threshold: threshold, size: counts.pairs - counts.constant, panels: self.panels,
                detectedAt: self.input.detectedAt)
            for pair in settled where pair.layer == layer { family.add(pair) }
            let outcome = family.outcome(includesRejected: self.input.includesRejected)
            (report.pairs, report.short, report.constant) = (counts.pairs, counts.short, counts.constant)
            report.accepted = outcome.acceptedPairs
            let drafts = outcome.drafts
            func accept(_ draft: EdgeFamily.Draft, _ edge: Edge) {
                arcs.append(
                    CommonNeighbours.Arc(
                        source: draft.source, target: draft.target, score: draft.peak.score, threshold: threshold))
                positions.append(evaluation.accepted.count)
                evaluation.accepted.append(edge)
            }
            if layer == .direct, self.input.tickEdges[event]?.isEmpty == false {
                var edges = drafts.map { family.edge($0) }
                edges += TickEdges(input: self.input).edges(
                    event: event, report: &report, beside: edges, untested: self.untested(settled))
                for index in Self.strongest(edges) {
                    if index < drafts.count {
                        accept(drafts[index], edges[index])
                    } else {
                        evaluation.accepted.append(edges[index])
                    }
                }
            } else {
                for draft in drafts.prefix(EventEvaluation.acceptedPerLayer) { accept(draft, family.edge(draft)) }
            }
            report.rejected = report.pairs - report.accepted - report.short - report.constant
            evaluation.layers.append(report)
            if self.input.includesRejected { evaluation.rejected += Self.strongest(outcome.rejected) }
        }
        var neighbours = CommonNeighbours(arcs: arcs, nodes: self.nodes.count)
        for (index, rank) in neighbours.explanations().enumerated() {
            if let rank { evaluation.accepted[positions[index]].explainedBy = self.nodes[rank] }
        }
        return evaluation
    }

    private func report(_ layer: Layer) -> LayerReport {
        if let reason = self.failures[layer] { return LayerReport(layer: layer, state: .failed, reason: reason) }
        guard let known = self.input.layerStates[layer] else { return LayerReport(layer: layer, state: .ok) }
        return LayerReport(layer: layer, state: known.state, reason: known.state == .ok ? nil : known.reason)
    }

    /// Pairs of L1 the clock could not test.
    private func untested(_ settled: [SettledPair]) -> [(nodes: Set<NodeKey>, status: SettledPair.Status)] {
        settled.filter { $0.status != .tested && $0.layer == .direct }.map { pair in
            let nodes = self.panels[pair.panel].series.block.nodes
            return ([nodes[pair.first], nodes[pair.second]], pair.status)
        }
    }

    /// Positions of the edges to keep, strongest first.
    private static func strongest(_ edges: [Edge]) -> ArraySlice<Int> {
        let weights = edges.map(\.weight)
        let ranked = edges.indices.sorted { left, right in
            if weights[left] != weights[right] { return weights[left] > weights[right] }
            let (left, right) = (edges[left], edges[right])
            if left.source != right.source { return left.source < right.source }
            if left.target != right.target { return left.target < right.target }
            return left.estimator.rawValue < right.estimator.rawValue
        }
        return ranked.prefix(EventEvaluation.acceptedPerLayer)
    }

    private static func strongest(_ pairs: [RejectedPair]) -> ArraySlice<RejectedPair> {
        let ranked = pairs.sorted { left, right in
            let sizes = (abs(left.score ?? -1), abs(right.score ?? -1))
            if (left.score == nil) != (right.score == nil) { return right.score == nil }
            if sizes.0 != sizes.1 { return sizes.0 > sizes.1 }
            return left.first != right.first ? left.first < right.first : left.second < right.second
        }
        return ranked.prefix(EventEvaluation.rejectedPerLayer)
    }
}
