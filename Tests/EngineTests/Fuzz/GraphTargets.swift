import Model

@testable import Engine

/// Targets over graphs and over questions about causes.
extension FuzzTarget {
    static func edges(_ input: inout FuzzInput, count: Int) -> [Edge] {
        (0..<count).map { _ in
            let (source, target) = (input.node(18), input.node(18))
            let lag = input.below(4)
            let score = Double(input.below(2_001)) / 1_000 - 1
            return Edge(
                source: source, target: target, layer: Layer(of: source, and: target),
                relation: lag == 0 ? .contemporaneous : .leadLag, estimator: .pearson, score: score, lagBuckets: lag,
                latencyMs: Double(lag) * 1_000, lagSource: .present, overlap: 60,
                effectiveSize: Double(input.below(100)), intervalLow: max(-1, score - 0.1),
                intervalHigh: min(1, score + 0.1), pValue: 0, qValue: 0, confidence: Double(input.below(101)) / 100,
                expectedPropagation: input.value(), bucketMs: 1_000, windowStart: Timestamp(milliseconds: 0),
                windowEnd: Timestamp(milliseconds: 60_000), detectedAt: Timestamp(milliseconds: 60_000))
        }
    }

    /// Edges as a damaged table would give them: scores, confidences and times that are no edge's.
    static func wildEdges(_ input: inout FuzzInput, count: Int) -> [Edge] {
        Self.edges(&input, count: count).map { edge in
            var edge = edge
            if input.byte() < 40 { edge.score = input.value() }
            if input.byte() < 40 { edge.confidence = input.value() }
            if input.byte() < 40 { edge.latencyMs = input.value() }
            return edge
        }
    }

    static func propagation(_ input: inout FuzzInput) -> [String] {
        let isWild = input.byte() % 4 == 0
        let count = input.below(60)
        let search = PathSearch(
            edges: isWild ? Self.wildEdges(&input, count: count) : Self.edges(&input, count: count))
        let (source, target) = (input.node(19), input.node(19))
        let depth = input.below(11)
        var faults: [String] = []
        func check(_ path: PropagationPath, _ end: NodeKey?) {
            if path.hops < 1 || path.hops > PathSearch.depths.upperBound { faults.append("hops of \(path)") }
            if path.nodes.count != path.hops + 1 || path.nodes.first != source { faults.append("nodes of \(path)") }
            if Set(path.nodes).count != path.nodes.count { faults.append("a loop in \(path)") }
            if let end, path.nodes.last != end { faults.append("end of \(path)") }
            if !(0...1).contains(path.rank) || !(0...1).contains(path.confidence) { faults.append("rank of \(path)") }
        }
        if case .path(let path) = search.bestPath(from: source, to: target, depth: depth) { check(path, target) }
        let reached = search.blastRadius(from: source, depth: depth, floor: 0, limit: 10)
        for path in reached { check(path, nil) }
        if reached.count > 10 { faults.append("more than asked for") }
        return faults
    }

    static func lives(_ input: inout FuzzInput) -> [String] {
        var lives = EdgeLives(patience: input.below(6))
        var standing: Set<[String]> = []
        var faults: [String] = []
        for step in 0..<20 {
            let edges = Self.edges(&input, count: input.below(5)).filter { $0.source != $0.target }
            let changes = lives.follow(edges, at: Timestamp(milliseconds: Int64(step) * 1_000)) { _, _ in nil }
            for change in changes {
                let pair = [change.source, change.target].sorted().map { "\($0)" }
                switch change.kind {
                case .born: if !standing.insert(pair).inserted { faults.append("born twice: \(pair)") }
                case .broken, .expired: if standing.remove(pair) == nil { faults.append("never born: \(pair)") }
                default: if !standing.contains(pair) { faults.append("changed, not born: \(pair)") }
                }
            }
            if standing.count != lives.count { faults.append("\(standing.count) and \(lives.count) stand") }
        }
        return faults
    }

    /// What is added to one graph leads to the other, in both directions.
    static func difference(_ input: inout FuzzInput) -> [String] {
        // No edge has a value that is no number, see the target `series`; one would differ from itself.
        func places(_ edges: [Edge]) -> [GraphDifference.Place: EdgeValues] {
            let known = edges.filter { !$0.expectedPropagation.isNaN }
            return Dictionary(known.map { (GraphDifference.Place($0), EdgeValues($0)) }) { first, _ in first }
        }
        let common = Self.edges(&input, count: input.below(12))
        let from = places(common + Self.edges(&input, count: input.below(8)))
        let to = places(common + Self.edges(&input, count: input.below(8)))
        let there = GraphDifference(from: from, to: to)
        let back = GraphDifference(from: to, to: from)
        var faults: [String] = []
        var applied = from
        for entry in there.entries {
            if entry.from == nil, entry.to == nil { faults.append("an entry of nothing") }
            if entry.from == entry.to { faults.append("no difference: \(entry)") }
            applied[entry.place] = entry.to
        }
        if applied != to { faults.append("the difference does not lead from one graph to the other") }
        if back.entries.map(\.place) != there.entries.map(\.place) || back.unchanged != there.unchanged {
            faults.append("another way back")
        }
        if zip(there.entries, back.entries).contains(where: { $0.from != $1.to || $0.to != $1.from }) {
            faults.append("other values on the way back")
        }
        if there.unchanged + there.entries.count != Set(from.keys).union(to.keys).count { faults.append("not all") }
        return faults
    }

    /// A question about causes, with calls that may be loops, repeated or of nobody.
    static func rootCauses(_ input: inout FuzzInput) -> [String] {
        let kinds: [MarketFacts.Kind] = [.impact, .waiting, .load, .local]
        let directions: [MarketFacts.BadDirection] = [.up, .down, .both]
        let roles: [DomainProfile.Role] = [.component, .component, .component, .call, .host, .indicator, .remote]
        var nodes: [RootCauseNode] = []
        var known: Set<NodeKey> = []
        for _ in 0..<input.below(24) {
            var key = input.node(36)
            let role = roles[input.below(roles.count)]
            if role == .call {
                key = NodeKey(domain: "c", event: "e\(input.below(4))_e\(input.below(4))", market: "m", venue: "v")
            }
            guard known.insert(key).inserted else { continue }
            nodes.append(
                RootCauseNode(
                    key: key, role: role,
                    facts: MarketFacts(
                        kind: kinds[input.below(kinds.count)], bad: directions[input.below(directions.count)],
                        isPercentOfSuccesses: input.byte() % 4 == 0)))
        }
        let (before, after) = (input.below(80), input.below(8))
        var rows: (baseline: [Double], window: [Double]) = ([], [])
        for _ in nodes {
            let row = input.series(before + after, like: nil)
            rows.baseline += row.prefix(before)
            rows.window += row.suffix(after)
        }
        let calls = (0..<input.below(8)).map { _ in
            CallEdge(caller: "e\(input.below(6))", callee: "e\(input.below(6))")
        }
        let target = input.byte() % 4 == 0 ? RootCauseTarget(event: "e0", market: "m0", venue: "v0") : nil
        let report = RootCauseRanking.rank(
            RootCauseInput(
                nodes: nodes, baseline: rows.baseline, baselineLength: before, window: rows.window,
                windowLength: after, callGraph: calls, target: target))
        var faults: [String] = []
        for candidate in report.candidates {
            let numbers = [candidate.score, candidate.share, candidate.local, candidate.impact, candidate.loadResidual]
            if !numbers.allSatisfy({ $0.isFinite && $0 >= 0 }) { faults.append("numbers of \(candidate)") }
            if candidate.share > 1 + 1e-9 { faults.append("more than all blame: \(candidate)") }
            if !candidate.accusers.allSatisfy(\.evidence.isFinite) { faults.append("accusers of \(candidate)") }
        }
        if zip(report.candidates, report.candidates.dropFirst()).contains(where: { $0.score < $1.score }) {
            faults.append("not best first")
        }
        if Set(report.candidates.map(\.event)).count != report.candidates.count { faults.append("a candidate twice") }
        if report.candidates.reduce(0, { $0 + $1.share }) > 1 + 1e-6 { faults.append("more blame than there is") }
        if !report.strength.isFinite, !report.candidates.isEmpty { faults.append("strength \(report.strength)") }
        return faults
    }
}
