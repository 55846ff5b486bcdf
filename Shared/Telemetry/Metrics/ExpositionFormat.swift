/// How metrics are written. Only OpenMetrics has a place for exemplars.
public enum ExpositionFormat: Hashable, Sendable {
    /// Prometheus text format 0.0.4.
    case text
    /// https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md
    case openMetrics

    public var contentType: String {
        switch self {
        case .text: "text/plain; version=0.0.4; charset=utf-8"
        case .openMetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8"
        }
    }

    /// What an `Accept` field likes best; text where it names neither, for that is what people read.
    public init(accept: String) {
        func liking(_ type: String) -> Double {
            accept.split(separator: ",").map { range in
                let parts = range.split(separator: ";", omittingEmptySubsequences: false).map {
                    $0.trimmingBlanks.lowercased()
                }
                guard parts.first == type else { return 0 }
                let weight = parts.dropFirst().first { $0.hasPrefix("q=") }
                return weight.map { Self.weight($0.dropFirst(2)) } ?? 1
            }.max() ?? 0
        }
        let openMetrics = liking("application/openmetrics-text")
        self = openMetrics > 0 && openMetrics >= liking("text/plain") ? .openMetrics : .text
    }

    /// RFC 9110, 12.4.2: 0 ... 1 with three decimals at most; what is written otherwise likes nothing.
    private static func weight(_ text: Substring) -> Double {
        let bytes = Array(text.utf8)
        guard (1...5).contains(bytes.count), bytes.count == 1 || bytes[1] == UInt8(ascii: "."),
            bytes.indices.allSatisfy({ $0 == 1 || (0x30...0x39).contains(bytes[$0]) }), let value = Double(text)
        else { return 0 }
        return value <= 1 ? value : 0
    }

    /// The two lines above the samples of a metric. OpenMetrics names a counter without the `_total` of its samples.
    func head(_ name: String, _ kind: String, help: String) -> String {
        let isCounter = kind == "counter" && name.hasSuffix("_total")
        let family = self == .openMetrics && isCounter ? String(name.dropLast("_total".count)) : name
        let text = self == .openMetrics ? MetricName.escapedValue(help) : MetricName.escapedHelp(help)
        return "# HELP \(family) \(text)\n# TYPE \(family) \(kind)\n"
    }
}

extension Substring {
    /// Without blanks and tabs at both ends.
    fileprivate var trimmingBlanks: Substring {
        var rest = self.drop { $0 == " " || $0 == "\t" }
        while let last = rest.last, last == " " || last == "\t" { rest.removeLast() }
        return rest
    }
}
