import Model

/// Edges as compressed sparse rows over interned node numbers, for path search.
///
/// With n nodes, the arcs leaving node u are `rowStart[u] ..< rowStart[u + 1]`; arc a leads to node `column[a]` along
/// `edges[edgeIndex[a]]`. A directed edge is one arc (source to target); an undirected one (lag 0) is two, and
/// `isReversed[a]` tells which of them runs against the stored source and target. Arcs of a row are sorted by column.
public struct SparseGraph: Sendable {
    /// n names in ascending order; a node's number is its position.
    public let nodes: [NodeKey]
    public let edges: [Edge]
    /// n + 1 positions.
    public let rowStart: [Int32]
    /// The far end of each arc.
    public let column: [Int32]
    /// The edge of each arc, an index into `edges`.
    public let edgeIndex: [Int32]
    public let isReversed: [Bool]

    public init(edges: [Edge]) {
        var names = Set<NodeKey>(minimumCapacity: 2 * edges.count)
        for edge in edges {
            names.insert(edge.source)
            names.insert(edge.target)
        }
        let nodes = names.sorted()
        var numbers: [NodeKey: Int32] = Dictionary(minimumCapacity: nodes.count)
        for (number, node) in nodes.enumerated() { numbers[node] = Int32(number) }
        var arcs: [(row: Int32, column: Int32, edge: Int32, isReversed: Bool)] = []
        arcs.reserveCapacity(2 * edges.count)
        for (index, edge) in edges.enumerated() {
            guard let source = numbers[edge.source], let target = numbers[edge.target] else { continue }
            arcs.append((source, target, Int32(index), false))
            if edge.relation == .contemporaneous {
                arcs.append((target, source, Int32(index), true))
            }
        }
        arcs.sort { ($0.row, $0.column, $0.edge) < ($1.row, $1.column, $1.edge) }
        var rowStart = [Int32](repeating: 0, count: nodes.count + 1)
        for arc in arcs { rowStart[Int(arc.row) + 1] += 1 }
        for row in nodes.indices { rowStart[row + 1] += rowStart[row] }
        self.nodes = nodes
        self.edges = edges
        self.rowStart = rowStart
        self.column = arcs.map(\.column)
        self.edgeIndex = arcs.map(\.edge)
        self.isReversed = arcs.map(\.isReversed)
    }

    /// The number of a node, by binary search; nil when no edge touches it.
    public func number(of node: NodeKey) -> Int32? {
        var low = 0
        var high = self.nodes.count
        while low < high {
            let middle = (low + high) / 2
            if self.nodes[middle] < node { low = middle + 1 } else { high = middle }
        }
        return low < self.nodes.count && self.nodes[low] == node ? Int32(low) : nil
    }

    /// The arcs that leave a node: positions into `column`, `edgeIndex` and `isReversed`.
    public func arcs(from node: Int32) -> Range<Int> {
        Int(self.rowStart[Int(node)])..<Int(self.rowStart[Int(node) + 1])
    }
}
