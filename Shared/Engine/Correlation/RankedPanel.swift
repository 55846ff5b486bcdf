import Model

/// A panel of one evaluation with the place of its nodes in the order of all nodes the evaluation looks at, so that nodes
/// are compared and told apart by number.
struct RankedPanel {
    let series: SeriesPanel
    /// By row.
    private(set) var ranks: [Int]

    private init(series: SeriesPanel) {
        self.series = series
        self.ranks = Array(series.block.nodes.indices)
    }

    /// - Returns: the panels with their ranks, and the nodes by rank.
    static func ranked(_ panels: [SeriesPanel]) -> (panels: [RankedPanel], nodes: [NodeKey]) {
        var result = panels.map { RankedPanel(series: $0) }
        // The rows of one panel are in order of their nodes already.
        if panels.count < 2 { return (result, panels.first?.block.nodes ?? []) }
        var nodes: [NodeKey] = []
        for node in panels.flatMap(\.block.nodes).sorted() where nodes.last != node { nodes.append(node) }
        for panel in result.indices {
            var rank = 0
            for (row, node) in result[panel].series.block.nodes.enumerated() {
                while nodes[rank] != node { rank += 1 }
                result[panel].ranks[row] = rank
            }
        }
        return (result, nodes)
    }
}
