import Telemetry

/// What each operation did between two looks at the histograms. A value that is handed what there is.
struct PerformanceWindow {
    struct Row: Hashable, Sendable {
        var operation: String
        var count: Int
        var throughputPerSecond: Double
        var meanMs: Double
        var p50Ms: Double
        var p99Ms: Double
    }

    /// Labels that split an operation without being another one.
    private static let outcomes: Set<String> = ["status", "code", "outcome"]
    /// More operations than any service has; further ones are left out.
    static let operationLimit = 500

    private var last: [String: HistogramSnapshot] = [:]

    /// - Returns: operations that did anything since the last call, ascending by name.
    mutating func rows(
        _ histograms: [(name: String, labels: [(String, String)], values: HistogramSnapshot)], seconds: Double
    ) -> [Row] {
        var now: [String: HistogramSnapshot] = [:]
        for histogram in histograms where histogram.name.hasSuffix("_seconds") {
            let operation = Self.operation(histogram.name, histogram.labels)
            now[operation] = now[operation].map { $0 + histogram.values } ?? histogram.values
        }
        let rows = now.sorted { $0.key < $1.key }.prefix(Self.operationLimit).compactMap { operation, values -> Row? in
            let recent = values.since(self.last[operation])
            guard recent.count > 0, let p50 = recent.quantile(0.5), let p99 = recent.quantile(0.99) else { return nil }
            return Row(
                operation: operation, count: Int(clamping: recent.count),
                throughputPerSecond: Double(recent.count) / max(0.001, seconds), meanMs: recent.mean * 1_000,
                p50Ms: p50 * 1_000, p99Ms: p99 * 1_000)
        }
        self.last = now
        return rows
    }

    /// `http_server_request GET /v1/events`.
    private static func operation(_ name: String, _ labels: [(String, String)]) -> String {
        let stem = name.replacing("_duration_seconds", with: "").replacing("_seconds", with: "")
        let words = labels.filter { !Self.outcomes.contains($0.0) }.sorted { $0.0 < $1.0 }.map(\.1)
        return ([stem] + words).joined(separator: " ")
    }
}
