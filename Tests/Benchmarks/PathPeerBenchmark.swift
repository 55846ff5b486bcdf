import Engine
import Foundation
import Model

/// Best paths and blast radii in a large graph, beside libraries that know nothing of depth, lags or responses.
///
/// `UNDERCURRENT_GRAPH_PYTHON` names a Python with rustworkx, igraph and scipy; scripts/bench.sh makes one.
enum PathPeerBenchmark {
    static let benchmark = BenchmarkCase(name: "path-peers", run: Self.run)
    static let nodes = 10_000
    static let degree = 20
    static let rounds = 5
    static let seed: UInt64 = 23

    private struct PeerAnswer: Decodable {
        /// Seconds a question, by library.
        var path: [String: Double]
        var blast: [String: Double]
        var ranks: [String: [Double]]
    }

    static func run() throws -> [Measurement] {
        let environment = ProcessInfo.processInfo.environment
        guard let python = environment["UNDERCURRENT_GRAPH_PYTHON"],
            let script = environment["UNDERCURRENT_GRAPH_PEERS"]
        else {
            print("path-peers: NOT RUN, it needs rustworkx, igraph and scipy: use `make bench`")
            return []
        }
        let edges = PathBenchmarks.edges(nodes: Self.nodes, degree: Self.degree, seed: Self.seed)
        let search = PathSearch(edges: edges)
        let questions = (0..<32).map { ($0 * 311 % Self.nodes, ($0 * 733 + 101) % Self.nodes) }
        print(
            "path-peers: seed \(Self.seed), 1 thread, \(Self.nodes) nodes, \(edges.count) links, \(questions.count) questions,"
                + " depth 8; blast radius: responses of 0.1 and more, at most 1,000; the libraries give distances")
        let file = FileManager.default.temporaryDirectory.path + "/uc-links-\(UInt64.random(in: 0 ... .max))"
        defer { try? FileManager.default.removeItem(atPath: file) }
        try Self.write(edges, to: file)
        let asked = try String(decoding: JSONEncoder().encode(questions.map { [$0.0, $0.1] }), as: UTF8.self)
        var path: [Double] = []
        var blast: [Double] = []
        var peers: [PeerAnswer] = []
        for _ in 0..<Self.rounds {
            let (seconds, ranks) = try Self.paths(search, questions)
            path.append(seconds)
            blast.append(Self.blasts(search, questions))
            let answer = try PeerProgram.ask(PeerAnswer.self, [python, script, file, "\(Self.nodes)", asked])
            try Self.compare(ranks, answer)
            peers.append(answer)
        }
        return [
            Self.measurement("best path, 10,000 nodes / 200,000 edges, depth 8", path, peers.map(\.path)),
            Self.measurement("blast radius, 10,000 nodes / 200,000 edges, depth 8", blast, peers.map(\.blast)),
        ]
    }

    private static func paths(
        _ search: PathSearch, _ questions: [(Int, Int)]
    ) throws -> (seconds: Double, ranks: [Double]) {
        let clock = ContinuousClock()
        let start = clock.now
        let ranks = questions.map { question -> Double in
            switch search.bestPath(
                from: PathBenchmarks.node(question.0), to: PathBenchmarks.node(question.1), depth: 8)
            {
            case .path(let path): path.rank
            case .none: 0
            }
        }
        return ((clock.now - start) / .seconds(1) / Double(questions.count), ranks)
    }

    private static func blasts(_ search: PathSearch, _ questions: [(Int, Int)]) -> Double {
        let clock = ContinuousClock()
        let start = clock.now
        for (source, _) in questions {
            _ = search.blastRadius(from: PathBenchmarks.node(source), depth: 8)
        }
        return (clock.now - start) / .seconds(1) / Double(questions.count)
    }

    /// Where the best path has at most eight links the answers are equal; where it is longer ours is weaker.
    private static func compare(_ ranks: [Double], _ answer: PeerAnswer) throws {
        for (name, theirs) in answer.ranks {
            let equal = zip(ranks, theirs).count { abs($0 - $1) <= 1e-9 * $1 }
            guard !zip(ranks, theirs).contains(where: { $0 > $1 * (1 + 1e-9) }), equal * 10 >= ranks.count * 8 else {
                throw WrongAnswer(description: "\(equal) of \(ranks.count) best paths are those of \(name)")
            }
        }
    }

    private static func measurement(_ name: String, _ own: [Double], _ peers: [[String: Double]]) -> Measurement {
        let medians = (peers.first?.keys.sorted() ?? []).map { library in
            (library, peers.compactMap { $0[library] }.median)
        }
        let fastest = medians.min { $0.1 < $1.1 } ?? ("none", .nan)
        print("  \(name): " + medians.map { "\($0.0) \(Int($0.1 * 1e6)) us" }.joined(separator: ", "))
        let median = own.median
        return Measurement(
            name: name, value: median * 1e6, unit: "us", peer: fastest.0, peerValue: fastest.1 * 1e6,
            ratio: fastest.1 / median, spread: ((own.max() ?? 0) - (own.min() ?? 0)) / median)
    }

    private static func write(_ edges: [Edge], to file: String) throws {
        var bytes = Data(capacity: edges.count * 16)
        func number(_ node: NodeKey) -> Int32 { Int32(node.market.split(separator: "-").last ?? "") ?? 0 }
        for edge in edges {
            for value in [number(edge.source), number(edge.target)] {
                withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
            }
            withUnsafeBytes(of: edge.weight.bitPattern.littleEndian) { bytes.append(contentsOf: $0) }
        }
        try bytes.write(to: URL(filePath: file))
    }
}
