import Model

/// Computes the graphs of events from series: screens all pairs, settles those that may pass, accepts by one rule.
public enum Evaluation {
    /// One evaluation per asked event, in ascending order of events. Pure and deterministic: equal input gives equal output
    /// on every machine, and an event's result does not depend on which other events are asked with it.
    ///
    /// With A asked nodes among N, window W and 2L + 1 lags the screening is A x N x W x (2L + 1) multiplications in
    /// bytes or float; what survives costs the same per pair in Double, and the baseline's length where the lag is chosen
    /// on it.
    ///
    /// - Parameter observer: is told of each stage as it begins.
    public static func evaluate(
        _ input: EvaluationInput, observer: EvaluationStage.Observer? = nil
    ) -> [EventEvaluation] {
        self.evaluate(input, arithmetic: .fastest, observer: observer)
    }

    /// - Parameter arithmetic: of the screening; it changes the time, never the answer.
    static func evaluate(
        _ input: EvaluationInput, arithmetic: ScreenArithmetic, observer: EvaluationStage.Observer? = nil
    ) -> [EventEvaluation] {
        observer?(.prepare)
        var run = EvaluationRun(input, arithmetic: arithmetic, observer: observer)
        if run.scanTogether() {
            run.scanPartners(input.partners.dropFirst())
        } else {
            run.scanOwnDomain()
            run.scanPartners(input.partners[...])
        }
        return run.results()
    }
}

/// One evaluation in progress.
private struct EvaluationRun {
    let input: EvaluationInput
    let arithmetic: ScreenArithmetic
    let observer: EvaluationStage.Observer?
    let events: [String]
    private var failures: [Layer: String] = [:]
    private var counts: [PairCounts]
    /// What rows of settled pairs belong to.
    private var panels: [SeriesPanel] = []
    /// By asked event.
    private var settled: [[SettledPair]]

    init(_ whole: EvaluationInput, arithmetic: ScreenArithmetic, observer: EvaluationStage.Observer?) {
        let input = whole.withoutSeasons()
        self.input = input
        self.arithmetic = arithmetic
        self.observer = observer
        self.events = Set(input.events).sorted()
        self.counts = [PairCounts](repeating: PairCounts(), count: self.events.count * Layer.allCases.count)
        self.settled = [[SettledPair]](repeating: [], count: self.events.count)
    }

    private func isComputed(_ layer: Layer) -> Bool {
        guard let state = self.input.layerStates[layer]?.state else { return true }
        return state != .failed && state != .standby
    }

    /// Scans both at once where the first partner's clock and own series are those of the domain itself.
    mutating func scanTogether() -> Bool {
        guard Layer.allCases.allSatisfy({ self.isComputed($0) }),
            let partner = self.input.partners.first,
            self.input.block.nodes.allSatisfy({ $0.domain == self.input.domain }),
            Self.isAscending(self.input.block.nodes), Self.isAscending(partner.block.nodes),
            let joined = JoinedBlock(self.input, partner, events: Set(self.events))
        else { return false }
        let numbers = NodeNumbers(nodes: joined.block.nodes, askedEvents: self.events, in: self.input.domain)
        let rows = joined.own.filter { numbers.asked[$0] >= 0 }
        let others = joined.block.nodes.indices.filter { numbers.asked[$0] < 0 }
        self.scan(
            SeriesPanel(block: joined.block, shape: self.input.shape), numbers, Set(Layer.allCases), rows, others,
            pairsWithinRows: true)
        return true
    }

    mutating func scanOwnDomain() {
        let layers = Set([Layer.direct, .crossMarket, .crossEvent].filter { self.isComputed($0) })
        let block = self.input.block
        guard !layers.isEmpty, !block.nodes.isEmpty else { return }
        guard block.nodes.allSatisfy({ $0.domain == self.input.domain }) else {
            for layer in layers { self.failures[layer] = "the series hold a node of another domain" }
            return
        }
        guard Self.isAscending(block.nodes) else {
            for layer in layers { self.failures[layer] = "the series are not in ascending order of nodes" }
            return
        }
        let numbers = NodeNumbers(nodes: block.nodes, askedEvents: self.events, in: self.input.domain)
        let rows = block.nodes.indices.filter { numbers.asked[$0] >= 0 }
        let others = layers.contains(.crossEvent) ? block.nodes.indices.filter { numbers.asked[$0] < 0 } : []
        self.scan(
            SeriesPanel(block: block, shape: self.input.shape), numbers, layers, rows, others, pairsWithinRows: true)
    }

    mutating func scanPartners(_ partners: ArraySlice<PartnerBlock>) {
        guard self.isComputed(.crossDomain) else { return }
        for partner in partners {
            let nodes = partner.block.nodes
            guard Self.isAscending(nodes) else {
                self.failures[.crossDomain] = "the partner series are not in ascending order of nodes"
                return
            }
            let numbers = NodeNumbers(nodes: nodes, askedEvents: self.events, in: self.input.domain)
            let rows = nodes.indices.filter { nodes[$0].domain == self.input.domain && numbers.asked[$0] >= 0 }
            let others = nodes.indices.filter { nodes[$0].domain != self.input.domain }
            self.scan(
                SeriesPanel(block: partner.block, shape: partner.shape), numbers, [.crossDomain], rows, others,
                pairsWithinRows: false)
        }
    }

    private static func isAscending(_ nodes: [NodeKey]) -> Bool {
        zip(nodes, nodes.dropFirst()).allSatisfy { $0 < $1 }
    }

    private mutating func scan(
        _ panel: SeriesPanel, _ numbers: NodeNumbers, _ layers: Set<Layer>, _ rows: [Int], _ others: [Int],
        pairsWithinRows: Bool
    ) {
        guard !rows.isEmpty, panel.block.length > 1 else { return }
        var scan = PairScan(
            panel: panel, numbers: numbers, thresholds: self.input.thresholds, layers: layers,
            events: self.events.count, settlesAll: self.input.includesRejected,
            arithmetic: self.arithmetic, observer: self.observer)
        scan.run(rows: rows, others: others, pairsWithinRows: pairsWithinRows)
        for (index, count) in scan.counts.enumerated() {
            self.counts[index].pairs += count.pairs
            self.counts[index].short += count.short
            self.counts[index].constant += count.constant
        }
        for var pair in scan.settled {
            pair.panel = self.panels.count
            let events = (numbers.asked[pair.first], numbers.asked[pair.second])
            if events.0 >= 0 { self.settled[Int(events.0)].append(pair) }
            if events.1 >= 0, events.1 != events.0 { self.settled[Int(events.1)].append(pair) }
        }
        self.panels.append(panel)
    }

    func results() -> [EventEvaluation] {
        self.observer?(.assemble)
        let assembly = EventAssembly(input: self.input, failures: self.failures, panels: self.panels)
        let size = Layer.allCases.count
        return self.events.indices.map { event in
            assembly.evaluation(
                event: self.events[event], counts: self.counts[event * size..<(event + 1) * size],
                settled: self.settled[event])
        }
    }
}
