import Engine
import Model

/// All that is decided about one event out of its stored edges: the graph is put together, statistics are held against their
/// levels and turned into episodes, and the best path of a shock is found.
enum EventBenchmark {
    static let benchmark = BenchmarkCase(name: "event", run: Self.run)
    static let seed: UInt64 = 29
    static let depth = 4
    /// Own nodes of the event, 4 venues in each of 10 markets; and as many elsewhere.
    private static let nodes = 40

    static func run() throws -> [Measurement] {
        print(
            "event: seed \(Self.seed), 1 thread, its processor time, float64, 4 x 50 stored edges, depth \(Self.depth), 64 questions in turn"
        )
        let edges = Self.edges()
        let search = PathSearch(edges: edges)
        let questions = (0..<64).map { (Self.node($0 * 7 % Self.nodes), Self.node(($0 * 11 + 17) % Self.nodes)) }
            .filter { $0 != $1 }
        try PathBenchmarks.check(search, edges: edges, questions: questions, depth: Self.depth)
        let findings = DecisionBenchmarks.findings()
        let statistics = DecisionBenchmarks.statistics()
        try DecisionBenchmarks.check(statistics, findings: findings)
        var tracker = EpisodeTracker()
        var turn = 0
        func decide() {
            _ = DecisionBenchmarks.decide(
                statistics[turn % statistics.count], bucket: turn, findings: findings, &tracker)
        }
        func path(_ search: PathSearch) throws {
            let (source, target) = questions[turn % questions.count]
            if case .none(.unknownNode(let node)) = search.bestPath(from: source, to: target, depth: Self.depth) {
                throw WrongAnswer(description: "\(node.display) is unknown")
            }
        }
        let whole = try Measurement.time("an event: graph, decision and best path", repeats: 600, isProcessorTime: true)
        {
            decide()
            try path(PathSearch(edges: edges))
            turn += 1
        }
        let perSecond = Measurement(
            name: "events a second and core", value: 1e6 / whole.value, unit: "events/s", peer: "goal",
            peerValue: 20_000, ratio: 1e6 / whole.value / 20_000, spread: whole.spread)
        return [
            perSecond, whole,
            Measurement.time("of it: the graph", repeats: 600, isProcessorTime: true) { _ = PathSearch(edges: edges) },
            Measurement.time("of it: the decision", repeats: 600, isProcessorTime: true) {
                decide()
                turn += 1
            },
            try Measurement.time("of it: the best path", repeats: 600, isProcessorTime: true) {
                try path(search)
                turn += 1
            },
        ]
    }

    private static func node(_ number: Int, domain: String = "sport", event: String = "match") -> NodeKey {
        NodeKey(
            domain: domain, event: "\(event)-2025-01-01", market: "market-\(number / 4)", venue: "venue-\(number % 4)")
    }

    /// As `EdgeStore` reads them: a node that is met again shares the memory of its names.
    private static func edges() -> [Edge] {
        var random = RandomStream(seed: Self.seed)
        let end = Timestamp(milliseconds: 7_200_000)
        var known: [NodeKey: NodeKey] = [:]
        func shared(_ node: NodeKey) -> NodeKey {
            let first = known[node] ?? node
            known[first] = first
            return first
        }
        return Layer.allCases.flatMap { layer in
            var pairs: Set<[NodeKey]> = []
            var edges: [Edge] = []
            while edges.count < 50 {
                let source = shared(Self.node(random.below(Self.nodes)))
                let number = random.below(Self.nodes)
                let target =
                    switch layer {
                    case .direct, .crossMarket: shared(Self.node(number))
                    case .crossEvent: shared(Self.node(number, event: "derby"))
                    case .crossDomain: shared(Self.node(number, domain: "crypto", event: "coin"))
                    }
                guard Layer(of: source, and: target) == layer, source != target,
                    pairs.insert([source, target].sorted()).inserted
                else { continue }
                let (score, lag) = (0.6 + 0.39 * random.uniform(), random.below(6))
                edges.append(
                    Edge(
                        source: source, target: target, layer: layer,
                        relation: lag == 0 ? .contemporaneous : .leadLag, estimator: .pearson, score: score,
                        lagBuckets: lag, latencyMs: 60_000 * Double(lag), lagSource: .baseline, overlap: 120,
                        effectiveSize: 100, intervalLow: score - 0.1, intervalHigh: 1, pValue: 0, qValue: 0,
                        confidence: 0.5 + 0.5 * random.uniform(), expectedPropagation: score, bucketMs: 60_000,
                        windowStart: Timestamp(milliseconds: 0), windowEnd: end, detectedAt: end))
            }
            return edges.sorted { $0.weight > $1.weight }
        }
    }
}
