/// The labels of one series: sorted by name, sanitised, a name once.
struct SeriesLabels: Hashable, Sendable {
    private let pairs: [Pair]
    /// `{a="b",c="d"}`, or empty.
    let text: String

    private struct Pair: Hashable, Sendable {
        let name: String
        let value: String
    }

    init(_ dimensions: [(String, String)]) {
        var values: [String: String] = [:]
        for (name, value) in dimensions { values[MetricName.label(name)] = value }
        self.pairs = values.keys.sorted().map { Pair(name: $0, value: values[$0] ?? "") }
        self.text = Self.text(of: self.pairs)
    }

    var dimensions: [(String, String)] { self.pairs.map { ($0.name, $0.value) } }

    func adding(_ name: String, _ value: String) -> String {
        Self.text(of: self.pairs + [Pair(name: name, value: value)])
    }

    private static func text(of pairs: [Pair]) -> String {
        guard !pairs.isEmpty else { return "" }
        return "{" + pairs.map { "\($0.name)=\"\(MetricName.escapedValue($0.value))\"" }.joined(separator: ",") + "}"
    }
}
