import Model

extension RootCauseInput {
    /// From one grid that holds the window (after, through] and the `baselineMs` before it.
    ///
    /// All nodes take part, whether or not they have values: they may be named by the calls of others.
    ///
    /// - Precondition: the grid is of these nodes, in this order; `baselineMs` is above 0.
    public init(
        nodes: [RootCauseNode], grid: ObservationGrid, after: Timestamp, through: Timestamp, baselineMs: Int64,
        callGraph: [CallEdge] = [], target: RootCauseTarget? = nil
    ) {
        precondition(grid.nodeCount == nodes.count, "a grid of other nodes")
        precondition(baselineMs > 0, "a baseline has a length")
        let all = Array(nodes.indices)
        let past = grid.buckets(after: after.advanced(byMilliseconds: -baselineMs), through: after)
        let present = grid.buckets(after: after, through: through)
        self.init(
            nodes: nodes, baseline: grid.values(nodes: all, buckets: past), baselineLength: past.count,
            window: grid.values(nodes: all, buckets: present), windowLength: present.count, callGraph: callGraph,
            target: target)
    }

    /// From a grid of a normal period and a grid of the window, which may lie far apart.
    ///
    /// Only nodes with values in both take part: what exists in one of two distant periods alone says nothing of a change.
    ///
    /// - Precondition: both grids are of these nodes, in this order.
    public init(
        nodes: [RootCauseNode], normal: ObservationGrid, normalAfter: Timestamp, normalThrough: Timestamp,
        window: ObservationGrid, after: Timestamp, through: Timestamp, callGraph: [CallEdge] = [],
        target: RootCauseTarget? = nil
    ) {
        precondition(normal.nodeCount == nodes.count && window.nodeCount == nodes.count, "grids of other nodes")
        let past = normal.buckets(after: normalAfter, through: normalThrough)
        let present = window.buckets(after: after, through: through)
        let common = nodes.indices.filter {
            normal.hasValue(node: $0, in: past) && window.hasValue(node: $0, in: present)
        }
        self.init(
            nodes: common.map { nodes[$0] }, baseline: normal.values(nodes: common, buckets: past),
            baselineLength: past.count, window: window.values(nodes: common, buckets: present),
            windowLength: present.count, callGraph: callGraph, target: target)
    }
}
