import Model
import Testing

@testable import Engine

/// What is done with an input. Each target gives faults found: anything that must not be, in words.
enum FuzzTarget: String, CaseIterable {
    case series, detectors, states, ticks, propagation, lives, difference, rootCauses

    func faults(_ input: FuzzInput) -> [String] {
        var input = input
        switch self {
        case .series: return Self.series(&input)
        case .detectors: return Self.detectors(&input)
        case .states: return StateTarget.faults(&input)
        case .ticks: return Self.ticks(&input)
        case .propagation: return Self.propagation(&input)
        case .lives: return Self.lives(&input)
        case .difference: return Self.difference(&input)
        case .rootCauses: return Self.rootCauses(&input)
        }
    }

    // MARK: Series and detectors

    private static func block(_ input: inout FuzzInput, nodes: Int, length: Int, end: Int64) -> SeriesBlock {
        var names: Set<NodeKey> = []
        for _ in 0..<nodes { names.insert(input.node(18)) }
        var rows: [[Double]] = []
        for _ in names { rows.append(input.series(length, like: rows.last)) }
        return SeriesBlock(
            nodes: names.sorted(), bucketMs: 1_000, windowEnd: Timestamp(milliseconds: end), length: length,
            values: rows.flatMap(\.self))
    }

    private static func series(_ input: inout FuzzInput) -> [String] {
        let shape = WindowShape(
            present: 1 + input.below(60), baseline: input.below(4) == 0 ? 180 : input.below(200), lag: input.below(8))
        let block = Self.block(
            &input, nodes: 1 + input.below(9), length: input.below(260), end: Int64(input.below(60_000)))
        var evaluated = EvaluationInput(domain: "d", block: block, shape: shape, events: ["e0", "e1", "e9"])
        evaluated.includesRejected = input.byte() % 2 == 0
        if input.byte() % 2 == 0 { evaluated.periods = ["d": Int64(input.below(70)) * 500] }
        if input.byte() % 2 == 0 { evaluated.partners = [Self.partner(&input, of: block, shape: shape)] }
        let results = Evaluation.evaluate(evaluated)
        var faults: [String] = []
        for (result, again) in zip(results, Evaluation.evaluate(evaluated, arithmetic: .floats)) {
            if result.accepted != again.accepted || result.layers != again.layers { faults.append("screening decides") }
            for report in result.layers
            where report.pairs != report.accepted + report.rejected + report.short + report.constant {
                faults.append("pairs of \(report) do not add up")
            }
            faults += result.accepted.flatMap { Self.faults($0, threshold: evaluated.thresholds[$0.layer]) }
            for pair in result.rejected {
                if let score = pair.score, !(-1...1).contains(score) { faults.append("rejected r \(score)") }
            }
        }
        return faults
    }

    /// Nodes of another domain beside the own ones, on the same clock.
    private static func partner(_ input: inout FuzzInput, of block: SeriesBlock, shape: WindowShape) -> PartnerBlock {
        let names = (0..<1 + input.below(4)).map {
            NodeKey(domain: "other", event: "x\($0)", market: "m", venue: "v")
        }
        var rows = block.nodes.indices.map { Array(block.row($0)) }
        for _ in names { rows.append(input.series(block.length, like: rows.last)) }
        return PartnerBlock(
            block: SeriesBlock(
                nodes: block.nodes + names, bucketMs: block.bucketMs, windowEnd: block.windowEnd,
                length: block.length, values: rows.flatMap(\.self)), shape: shape)
    }

    private static func faults(_ edge: Edge, threshold: Double) -> [String] {
        var faults: [String] = []
        func expect(_ holds: Bool, _ what: String) { if !holds { faults.append("\(what): \(edge)") } }
        expect((threshold...1).contains(abs(edge.score)), "r")
        expect(edge.intervalLow <= edge.score && edge.score <= edge.intervalHigh, "interval around r")
        expect(edge.intervalLow >= -1 && edge.intervalHigh <= 1, "interval within bounds")
        expect((0...1).contains(edge.confidence) && (0...0.05).contains(edge.qValue), "confidence or q")
        expect((0...1).contains(edge.pValue), "p")
        expect(edge.effectiveSize >= 10 && edge.effectiveSize <= Double(edge.overlap), "effective size")
        expect(edge.expectedPropagation.isFinite && edge.latencyMs >= 0 && edge.latencyMs.isFinite, "beta or latency")
        expect(edge.source != edge.target, "itself")
        return faults
    }

    private static func detectors(_ input: inout FuzzInput) -> [String] {
        let shape = WindowShape(present: 30, baseline: 90, lag: input.below(3))
        var links = LinkDetector(
            event: "e0", settings: .init(presentBuckets: 30, baselineBuckets: 90, lagBuckets: shape.lag))
        var residual = NodeResidualDetector(
            event: "e0", domain: "d", settings: .init(bucketMs: 1_000, periodMs: 0, baselineBuckets: 90))
        let whole = Self.block(&input, nodes: 1 + input.below(5), length: 128, end: 128_000)
        var faults: [String] = []
        for step in 120...128 {
            let block = SeriesBlock(
                nodes: whole.nodes, bucketMs: 1_000, windowEnd: Timestamp(milliseconds: Int64(step) * 1_000),
                length: 120,
                values: whole.nodes.indices.flatMap { whole.row($0).dropFirst(step - 120).prefix(120) })
            let edges = Evaluation.evaluate(
                EvaluationInput(domain: "d", block: block, shape: shape, events: ["e0"])
            ).flatMap(\.accepted)
            var findings = links.observe(block: block, edges: edges)
            findings += HiddenEdgeDetector(presentBuckets: 30, baselineBuckets: 90).observe(
                event: "e0", block: block, edges: edges, declared: DeclaredPairs(), partners: 3)
            findings += MoveDetector(transform: .level, baselineBuckets: 90, leastBuckets: 60).observe(
                block: block, event: "e0", edges: edges)
            let own = block.nodes.indices.filter { block.nodes[$0].event == "e0" }
            let scores = residual.observe(
                nodes: own.map { block.nodes[$0] }, values: own.map { block.row($0).last ?? .nan },
                windowEnd: block.windowEnd)
            findings += scores.findings
            for finding in findings where !finding.statistic.isFinite || !finding.level.isFinite {
                faults.append("not a number: \(finding)")
            }
            for node in scores.nodes where !node.score.isFinite || node.score < 0 { faults.append("score: \(node)") }
        }
        return faults
    }

    // MARK: Ticks

    private static func ticks(_ input: inout FuzzInput) -> [String] {
        func readings(_ count: Int) -> [Reading] {
            var time: Int64 = 0
            return (0..<count).map { _ in
                time += Int64(input.below(input.byte() < 20 ? 60_000 : 3_000))
                return Reading(timeMs: time, value: input.value())
            }
        }
        let transform: DomainProfile.Transform = input.byte() % 2 == 0 ? .level : .logReturn
        let options = HayashiYoshida.Options(
            lagStepMs: Int64(1 + input.below(2_000)), lagLimitMs: Int64(input.below(6_000)), blockMs: 5_000, draws: 20,
            shifts: 10)
        let (first, second) = (
            TickSeries(readings(input.below(120)), transform: transform),
            TickSeries(readings(input.below(120)), transform: transform)
        )
        guard let estimate = HayashiYoshida.estimate(first, second, options: options) else { return [] }
        var faults: [String] = []
        if !(-1...1).contains(estimate.rho) || !(0...1).contains(estimate.pValue) { faults.append("\(estimate)") }
        if !estimate.beta.isFinite || !(estimate.rhoLow <= estimate.rhoHigh) { faults.append("\(estimate)") }
        if abs(estimate.lagMs) > options.lagLimitMs { faults.append("lag \(estimate.lagMs)") }
        return faults
    }
}
