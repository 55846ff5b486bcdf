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
        let interning = NodeInterning(edges: edges)
        let size = interning.nodes.count
        var arcs: [Arc] = []
        arcs.reserveCapacity(2 * edges.count)
        edges.withUnsafeBufferPointer { edges in
            for index in edges.indices {
                let (source, target) = (interning.ends[2 * index], interning.ends[2 * index + 1])
                arcs.append(Arc(row: source, column: target, edge: Int32(index), isReversed: false))
                if edges[index].relation == .contemporaneous {
                    arcs.append(Arc(row: target, column: source, edge: Int32(index), isReversed: true))
                }
            }
        }
        // Sorted by column, then by row without changing the order within one: by row, column and edge in the end.
        arcs = Self.sorted(arcs, by: \.column, size: size).arcs
        let rows = Self.sorted(arcs, by: \.row, size: size)
        self.nodes = interning.nodes
        self.edges = edges
        self.rowStart = rows.starts
        self.column = rows.arcs.map(\.column)
        self.edgeIndex = rows.arcs.map(\.edge)
        self.isReversed = rows.arcs.map(\.isReversed)
    }

    private struct Arc {
        var row: Int32
        var column: Int32
        var edge: Int32
        var isReversed: Bool
    }

    /// By counting; arcs of equal keys stay in their order. `starts` has where those of each key begin, and the end.
    @inline(__always)
    private static func sorted(_ arcs: [Arc], by key: (Arc) -> Int32, size: Int) -> (arcs: [Arc], starts: [Int32]) {
        var starts = [Int32](repeating: 0, count: size + 1)
        for arc in arcs { starts[Int(key(arc)) + 1] += 1 }
        for place in 0..<size { starts[place + 1] += starts[place] }
        var next = starts
        var sorted = arcs
        for arc in arcs {
            let place = Int(key(arc))
            sorted[Int(next[place])] = arc
            next[place] += 1
        }
        return (sorted, starts)
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
    ///
    /// - Precondition: `node` is a number of ``number(of:)``.
    public func arcs(from node: Int32) -> Range<Int> {
        Int(self.rowStart[Int(node)])..<Int(self.rowStart[Int(node) + 1])
    }
}
