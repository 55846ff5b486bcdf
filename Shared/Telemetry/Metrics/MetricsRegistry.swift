import CoreMetrics
import Synchronization

/// Every metric of this process, and its exposition for Prometheus, as text 0.0.4 or OpenMetrics.
///
/// A name has at most `seriesLimit` series: beyond it, values go to a series nobody sees and
/// `metrics_series_dropped_total` counts the refusals, so that a label made of request data cannot fill memory. A name that is
/// asked for with two different kinds keeps the first, `metrics_conflicts_total` counts the rest.
public final class MetricsRegistry: MetricsFactory, Sendable {
    /// Upper bounds of timers, in seconds.
    public static let secondsBounds = [
        0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
    ]
    /// Upper bounds of recorders: sizes and counts.
    public static let valueBounds: [Double] = [
        1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 100_000, 1_000_000, 10_000_000,
    ]

    enum Kind: String { case counter, gauge, histogram }

    private struct Family {
        let kind: Kind
        var series: [SeriesLabels: any SeriesHandler] = [:]
    }

    private struct State {
        var families: [String: Family] = [:]
        var help: [String: String] = [:]
        var dropped: Int64 = 0
        var conflicts: Int64 = 0
    }

    public let seriesLimit: Int
    /// Whether histograms keep an exemplar per bucket: of use only where traces are exported.
    public let keepsExemplars: Bool
    private let state = Mutex(State())

    public init(seriesLimit: Int = 1_000, keepsExemplars: Bool = false) {
        precondition(seriesLimit > 0, "a metric needs at least one series")
        self.seriesLimit = seriesLimit
        self.keepsExemplars = keepsExemplars
    }

    /// The text after `# HELP`. `name` is the exposed one: `http_server_requests_total`.
    public func describe(_ name: String, _ text: String) {
        self.state.withLock { $0.help[name] = text }
    }

    private func series<Handler: SeriesHandler>(
        _ name: String, _ kind: Kind, _ dimensions: [(String, String)], make: () -> Handler
    ) -> Handler {
        let labels = SeriesLabels(dimensions)
        return self.state.withLock { state in
            var family = state.families[name] ?? Family(kind: kind)
            if let existing = family.series[labels] {
                if let same = existing as? Handler { return same }
                state.conflicts += 1
                return make()
            }
            guard family.kind == kind else {
                state.conflicts += 1
                return make()
            }
            guard family.series.count < self.seriesLimit else {
                state.dropped += 1
                return make()
            }
            let handler = make()
            family.series[labels] = handler
            state.families[name] = family
            return handler
        }
    }

    private func remove(_ handler: AnyObject) {
        self.state.withLock { state in
            for (name, family) in state.families {
                guard let labels = family.series.first(where: { $0.value === handler })?.key else { continue }
                state.families[name]?.series[labels] = nil
            }
        }
    }

    /// All histograms as they are now, by name and labels.
    public func histograms() -> [(name: String, labels: [(String, String)], values: HistogramSnapshot)] {
        let families = self.state.withLock { $0.families }
        return families.flatMap { name, family in
            family.series.compactMap { labels, series in
                (series as? HistogramSeries).map { (name, labels.dimensions, $0.snapshot()) }
            }
        }
    }

    /// Everything as text, sorted by name and labels.
    public func exposition(_ format: ExpositionFormat = .text) -> String {
        let (families, help, dropped, conflicts) = self.state.withLock {
            ($0.families, $0.help, $0.dropped, $0.conflicts)
        }
        var text = ProcessMetrics.current().exposition(format)
        for name in families.keys.sorted() {
            guard let family = families[name], !family.series.isEmpty else { continue }
            let description = help[name] ?? name.replacing("_", with: " ")
            text += format.head(name, family.kind.rawValue, help: description)
            for (labels, series) in family.series.sorted(by: { $0.key.text < $1.key.text }) {
                series.append(name: name, labels: labels, format: format, to: &text)
            }
        }
        for (name, about, value) in [
            ("metrics_series_dropped_total", "Series refused because their name had too many.", dropped),
            ("metrics_conflicts_total", "Metrics asked for under a name of another kind.", conflicts),
        ] {
            text += format.head(name, "counter", help: about) + "\(name) \(value)\n"
        }
        return format == .openMetrics ? text + "# EOF\n" : text
    }

    public func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        self.series(MetricName.counter(label), .counter, dimensions) { CounterSeries() }
    }

    public func makeFloatingPointCounter(
        label: String, dimensions: [(String, String)]
    ) -> any FloatingPointCounterHandler {
        self.series(MetricName.counter(label), .counter, dimensions) { FloatingCounterSeries() }
    }

    public func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        self.series(MetricName.sanitized(label), .gauge, dimensions) { GaugeSeries() }
    }

    public func makeRecorder(
        label: String, dimensions: [(String, String)], aggregate: Bool
    ) -> any RecorderHandler {
        let name = MetricName.sanitized(label)
        guard aggregate else { return self.series(name, .gauge, dimensions) { GaugeSeries() } }
        let bounds = name.hasSuffix("_seconds") ? Self.secondsBounds : Self.valueBounds
        return self.series(name, .histogram, dimensions) {
            HistogramSeries(bounds: bounds, keepsExemplars: self.keepsExemplars)
        }
    }

    public func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        let name = MetricName.timer(label)
        let isMilliseconds = name.hasSuffix("_ms")
        return self.series(name, .histogram, dimensions) {
            HistogramSeries(
                bounds: isMilliseconds ? Self.secondsBounds.map { $0 * 1_000 } : Self.secondsBounds,
                nanosecondsPerUnit: isMilliseconds ? 1e6 : 1e9, keepsExemplars: self.keepsExemplars)
        }
    }

    public func destroyCounter(_ handler: any CounterHandler) { self.remove(handler) }
    public func destroyMeter(_ handler: any MeterHandler) { self.remove(handler) }
    public func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) { self.remove(handler) }
    public func destroyRecorder(_ handler: any RecorderHandler) { self.remove(handler) }
    public func destroyTimer(_ handler: any TimerHandler) { self.remove(handler) }
}
