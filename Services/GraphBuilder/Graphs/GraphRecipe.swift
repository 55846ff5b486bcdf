import Engine
import Model

/// What a graph was made from besides observations and profiles: enough to make it again.
struct GraphRecipe: Hashable, Sendable, Codable {
    /// Graphs of an event that are kept under their ids, see ``GraphHistory``.
    static let historyLength: Int64 = 128

    /// One evaluation that went into the graph.
    struct Part: Hashable, Sendable, Codable {
        var domain: String
        var windowEnd: Timestamp
        /// Domains that took part in L4, and those that should have.
        var ready: [String]
        var late: [String]
    }

    struct Source: Hashable, Sendable, Codable {
        var bucketMs: Int64
        /// The oldest time looked at that had data.
        var oldest: Timestamp
    }

    /// The engine's version.
    var engine: String
    var thresholds: LayerThresholds
    /// Ascending by domain.
    var parts: [Part]
    /// Every domain that was looked at.
    var domains: [String: Source]

    /// Where the graph of a window end is kept: the place of the one ``historyLength`` buckets before it.
    func slot(windowEnd: Timestamp) -> Int64 {
        let widths = self.parts.compactMap { self.domains[$0.domain]?.bucketMs }
        let bucket = floorDivide(windowEnd.milliseconds, max(1, widths.min() ?? 1))
        return bucket - floorDivide(bucket, Self.historyLength) * Self.historyLength
    }
}
