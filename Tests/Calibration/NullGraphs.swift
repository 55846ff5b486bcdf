import Engine
import Model
import PlantedData

/// Graphs of series that have nothing to do with each other.
enum NullGraphs {
    static let section = CalibrationCommand.Section(
        name: "null",
        about: """
            12 unrelated nodes, 66 pairs, present 120 buckets, baseline 720, lags -5 ... 5, threshold 0.55: share of graphs with any \
            accepted edge.
            """, run: Self.run)

    private static let graphs = 1_000
    static let nodes = 12

    enum Law: CaseIterable {
        case white, memory5, memory9, memory99, walk, heavy

        var name: String {
            switch self {
            case .white: "white"
            case .memory5: "AR(1) .5"
            case .memory9: "AR(1) .9"
            case .memory99: "AR(1) .99"
            case .walk: "random walk"
            case .heavy: "t3"
            }
        }

        func row(_ planted: inout PlantedSeries) -> [Double] {
            switch self {
            case .white: return planted.noise()
            case .memory5: return planted.noise(memory: 0.5)
            case .memory9: return planted.noise(memory: 0.9)
            case .memory99: return planted.noise(memory: 0.99)
            case .heavy: return planted.heavyTailed()
            case .walk:
                var level = 0.0
                return planted.noise().map { step in
                    level += step
                    return level
                }
            }
        }
    }

    private static func run(_ scale: Double) -> [CalibrationRow] {
        let graphs = Int(Double(Self.graphs) * scale)
        return [720, 0].flatMap { baseline in
            Law.allCases.map { law in
                var planted = PlantedSeries(seed: 101, length: 845)
                let hits = (0..<graphs).count { _ in
                    let rows = (0..<Self.nodes).map { _ in law.row(&planted) }
                    return !PlantedGraph.evaluate(rows, present: 120, baseline: baseline, lag: 5, threshold: 0.55)
                        .accepted.isEmpty
                }
                let place = baseline > 0 ? "lag from the baseline" : "lag from the present"
                return CalibrationRow("null", "\(law.name), \(place)", hits: hits, of: graphs, goal: .atMost(0.05))
            }
        }
    }
}

/// Graphs with a common cause, and graphs with some true edges among many pairs.
enum SharedFactors {
    static let section = CalibrationCommand.Section(
        name: "shared",
        about: """
            12 nodes as above. Shared factor: all pairs have rho .7, share of accepted edges that name the common neighbour \
            explaining them. Mixed truth: 4 true pairs of rho .8 among 66, share of accepted edges that are false.
            """, run: Self.run)

    private static let graphs = 300

    private static func run(_ scale: Double) -> [CalibrationRow] {
        let graphs = Int(Double(Self.graphs) * scale)
        return [Self.explained(graphs)] + [0, 0.9].map { Self.mixed(graphs, memory: $0) }
    }

    private static func explained(_ graphs: Int) -> CalibrationRow {
        var planted = PlantedSeries(seed: 102, length: 845)
        var (accepted, explained) = (0, 0)
        for _ in 0..<graphs {
            let factor = planted.noise()
            let rows = (0..<NullGraphs.nodes).map { _ in Self.mix(factor, planted.noise(), share: 0.7) }
            let edges = PlantedGraph.evaluate(rows, present: 120, baseline: 720, lag: 5, threshold: 0.55).accepted
            accepted += edges.count
            explained += edges.count { $0.explainedBy != nil }
        }
        return CalibrationRow(
            "shared", "shared factor: edges with explainedBy", hits: explained, of: accepted, goal: .atLeast(0.99))
    }

    /// Nodes 0 to 2 share one factor, 3 and 4 another.
    private static func mixed(_ graphs: Int, memory: Double) -> CalibrationRow {
        var planted = PlantedSeries(seed: 103, length: 845)
        var (accepted, wrong) = (0, 0)
        for _ in 0..<graphs {
            let factors = [planted.noise(memory: memory), planted.noise(memory: memory)]
            let rows = (0..<NullGraphs.nodes).map { row in
                let own = planted.noise(memory: memory)
                return row < 5 ? Self.mix(factors[row < 3 ? 0 : 1], own, share: 0.8) : own
            }
            for edge in PlantedGraph.evaluate(rows, present: 120, baseline: 720, lag: 5, threshold: 0.55).accepted {
                let (first, second) = (PlantedGraph.row(edge.source), PlantedGraph.row(edge.target))
                accepted += 1
                if !(first < 3 && second < 3 || (3...4).contains(first) && (3...4).contains(second)) { wrong += 1 }
            }
        }
        return CalibrationRow(
            "shared", "mixed truth, \(memory > 0 ? "AR(1) .9" : "white"): false edges", hits: wrong, of: accepted,
            goal: .atMost(0.05))
    }

    private static func mix(_ factor: [Double], _ own: [Double], share: Double) -> [Double] {
        zip(factor, own).map { share.squareRoot() * $0 + (1 - share).squareRoot() * $1 }
    }
}
