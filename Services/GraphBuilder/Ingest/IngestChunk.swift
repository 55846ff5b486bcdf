import Model
import Postgres

/// Valid observations that will be committed together, and what was wrong with the others.
struct IngestChunk: Sendable {
    /// One observation as it is stored.
    struct Row: Sendable, Hashable {
        var shard: Int16
        var node: Int64
        /// Event time, epoch milliseconds.
        var timeMs: Int64
        var value: Double

        /// Order of the primary key. Every transaction inserts in this order, so two of them cannot wait for each other.
        @inline(__always)
        static func isBefore(_ left: Row, _ right: Row) -> Bool {
            if left.shard != right.shard { return left.shard < right.shard }
            if left.node != right.node { return left.node < right.node }
            if left.timeMs != right.timeMs { return left.timeMs < right.timeMs }
            return left.value < right.value
        }
    }

    /// Which times of one node a batch touched.
    struct Span: Sendable, Hashable {
        var shard: Int16
        var node: Int64
        var firstMs: Int64
        var lastMs: Int64
    }

    var rows: [Row] = []
    /// Nodes of ``rows`` that may not be in the database yet.
    var newNodes: [Int64: NodeKey] = [:]
    private(set) var days: Set<ObservationPartitions.Day> = []
    private var lastDay = ObservationPartitions.Day(number: .min)

    var isEmpty: Bool { self.rows.isEmpty }

    mutating func append(_ row: Row) {
        self.rows.append(row)
        let day = ObservationPartitions.Day(containing: Timestamp(milliseconds: row.timeMs))
        guard day != self.lastDay else { return }
        self.lastDay = day
        self.days.insert(day)
    }

    mutating func removeAll() {
        self.rows.removeAll(keepingCapacity: true)
        self.newNodes.removeAll()
        self.days.removeAll()
        self.lastDay = ObservationPartitions.Day(number: .min)
    }

    /// Brings the rows into the order of ``Row/isBefore(_:_:)``.
    mutating func sort() {
        let isSorted = zip(self.rows, self.rows.dropFirst()).allSatisfy { !Row.isBefore($1, $0) }
        if !isSorted { self.rows.sort(by: Row.isBefore) }
    }

    /// Sorted rows of several chunks in one order.
    static func merged(_ chunks: [[Row]]) -> [Row] {
        var chunks = chunks.filter { !$0.isEmpty }
        guard !chunks.isEmpty else { return [] }
        while chunks.count > 1 {
            chunks = stride(from: 0, to: chunks.count, by: 2).map { index in
                index + 1 < chunks.count ? Self.merged(chunks[index], chunks[index + 1]) : chunks[index]
            }
        }
        return chunks[0]
    }

    private static func merged(_ left: [Row], _ right: [Row]) -> [Row] {
        var rows: [Row] = []
        rows.reserveCapacity(left.count + right.count)
        var (i, j) = (0, 0)
        while i < left.count, j < right.count {
            if Row.isBefore(right[j], left[i]) {
                rows.append(right[j])
                j += 1
            } else {
                rows.append(left[i])
                i += 1
            }
        }
        rows += left[i...]
        rows += right[j...]
        return rows
    }

    /// Spans per node, of sorted rows.
    static func spans(of rows: [Row]) -> [Span] {
        var spans: [Span] = []
        for row in rows {
            if let last = spans.indices.last, spans[last].node == row.node, spans[last].shard == row.shard {
                spans[last].lastMs = row.timeMs
            } else {
                spans.append(Span(shard: row.shard, node: row.node, firstMs: row.timeMs, lastMs: row.timeMs))
            }
        }
        return spans
    }
}
