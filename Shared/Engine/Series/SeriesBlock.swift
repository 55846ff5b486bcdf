import Model

/// Series of many nodes on one regular clock, newest bucket last.
public struct SeriesBlock: Sendable {
    /// n nodes, in ascending order.
    public let nodes: [NodeKey]
    /// Width of a bucket in milliseconds.
    public let bucketMs: Int64
    /// End (exclusive) of the newest bucket.
    public let windowEnd: Timestamp
    /// Buckets per node.
    public let length: Int
    /// n x `length`, a row a node, oldest bucket first; in the domain's transform; NaN where nothing is known.
    public internal(set) var values: [Double]
    /// Buckets of the period that was taken off the rows of each domain that declares one; 0: none, the baseline is too short.
    var removedPeriods: [String: Int] = [:]

    /// - Precondition: `nodes` are in ascending order, each once; `values` holds `length` (0 or more) of each; `bucketMs` is above 0.
    public init(nodes: [NodeKey], bucketMs: Int64, windowEnd: Timestamp, length: Int, values: [Double]) {
        precondition(length >= 0, "a length is not negative")
        precondition(values.count == nodes.count * length, "a block holds one row of `length` values per node")
        precondition(bucketMs > 0, "a bucket has a width")
        precondition(zip(nodes, nodes.dropFirst()).allSatisfy { $0 < $1 }, "nodes are found by their order")
        self.nodes = nodes
        self.bucketMs = bucketMs
        self.windowEnd = windowEnd
        self.length = length
        self.values = values
    }

    /// The series of node `index`, oldest first.
    ///
    /// - Precondition: `index` is one of `nodes`.
    public func row(_ index: Int) -> ArraySlice<Double> {
        self.values[index * self.length..<(index + 1) * self.length]
    }
}
