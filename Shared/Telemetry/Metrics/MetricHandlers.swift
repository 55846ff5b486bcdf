import CoreMetrics
import Synchronization

/// What one series of a metric holds, written on the hot path without a registry look-up.
protocol SeriesHandler: AnyObject, Sendable {
    /// Appends the sample lines of this series. `labels` is `{a="b"}` or empty.
    func append(name: String, labels: SeriesLabels, format: ExpositionFormat, to text: inout String)
}

final class CounterSeries: SeriesHandler, CounterHandler {
    private let value = Atomic<Int64>(0)

    func increment(by amount: Int64) {
        // Counters only grow; a negative step is a bug of the caller and must not break rates.
        guard amount > 0 else { return }
        self.value.wrappingAdd(amount, ordering: .relaxed)
    }

    func reset() { self.value.store(0, ordering: .relaxed) }

    func append(name: String, labels: SeriesLabels, format: ExpositionFormat, to text: inout String) {
        text += "\(name)\(labels.text) \(self.value.load(ordering: .relaxed))\n"
    }
}

final class FloatingCounterSeries: SeriesHandler, FloatingPointCounterHandler {
    private let value = Mutex(0.0)

    func increment(by amount: Double) {
        guard amount > 0, amount.isFinite else { return }
        self.value.withLock { $0 += amount }
    }

    func reset() { self.value.withLock { $0 = 0 } }

    func append(name: String, labels: SeriesLabels, format: ExpositionFormat, to text: inout String) {
        text += "\(name)\(labels.text) \(SampleText.text(self.value.withLock { $0 }))\n"
    }
}

/// A value that is set: meters, and recorders that do not aggregate.
final class GaugeSeries: SeriesHandler, MeterHandler, RecorderHandler {
    private let value = Mutex(0.0)

    func set(_ value: Int64) { self.set(Double(value)) }
    func set(_ value: Double) { self.value.withLock { $0 = value } }
    func increment(by amount: Double) { self.value.withLock { $0 += amount } }
    func decrement(by amount: Double) { self.value.withLock { $0 -= amount } }
    func record(_ value: Int64) { self.set(Double(value)) }
    func record(_ value: Double) { self.set(value) }

    func append(name: String, labels: SeriesLabels, format: ExpositionFormat, to text: inout String) {
        text += "\(name)\(labels.text) \(SampleText.text(self.value.withLock { $0 }))\n"
    }
}

/// A histogram with fixed bounds: timers, and recorders that aggregate.
final class HistogramSeries: SeriesHandler, TimerHandler, RecorderHandler {
    /// Upper bounds, ascending, without +Inf.
    private let bounds: [Double]
    /// Recorded nanoseconds are divided by this: 1e9 for seconds, 1e6 for names that end in `_ms`.
    private let nanosecondsPerUnit: Double
    private let keepsExemplars: Bool
    private let state: Mutex<State>

    private struct State {
        /// Not cumulative; the last one is above every bound.
        var counts: [UInt64]
        var sum = 0.0
        /// The newest of each bucket; empty until there is one.
        var exemplars: [Exemplar?] = []
    }

    init(bounds: [Double], nanosecondsPerUnit: Double = 1e9, keepsExemplars: Bool = false) {
        self.bounds = bounds
        self.nanosecondsPerUnit = nanosecondsPerUnit
        self.keepsExemplars = keepsExemplars
        self.state = Mutex(State(counts: Array(repeating: 0, count: bounds.count + 1)))
    }

    func recordNanoseconds(_ duration: Int64) { self.record(Double(duration) / self.nanosecondsPerUnit) }
    func record(_ value: Int64) { self.record(Double(value)) }

    func record(_ value: Double) {
        guard !value.isNaN else { return }
        var index = 0
        while index < self.bounds.count, value > self.bounds[index] { index += 1 }
        let exemplar = self.keepsExemplars ? Exemplar.current(of: value) : nil
        self.state.withLock { state in
            state.counts[index] += 1
            state.sum += value
            guard let exemplar else { return }
            if state.exemplars.isEmpty { state.exemplars = Array(repeating: nil, count: state.counts.count) }
            state.exemplars[index] = exemplar
        }
    }

    /// How often which bound was not exceeded, since the start.
    func snapshot() -> HistogramSnapshot {
        self.state.withLock { HistogramSnapshot(bounds: self.bounds, counts: $0.counts, sum: $0.sum) }
    }

    /// Bounds are written with a fraction, `1.0`, in both formats: Prometheus 3 makes that of them, and rules name them.
    func append(name: String, labels: SeriesLabels, format: ExpositionFormat, to text: inout String) {
        let (counts, sum, exemplars) = self.state.withLock { ($0.counts, $0.sum, $0.exemplars) }
        let shown = format == .openMetrics ? exemplars : []
        var cumulative: UInt64 = 0
        for (index, count) in counts.enumerated() {
            cumulative += count
            let bound = index < self.bounds.count ? "\(self.bounds[index])" : "+Inf"
            let exemplar = shown.isEmpty ? nil : shown[index]
            text += "\(name)_bucket\(labels.adding("le", bound)) \(cumulative)\(exemplar?.text ?? "")\n"
        }
        text += "\(name)_sum\(labels.text) \(SampleText.text(sum))\n"
        text += "\(name)_count\(labels.text) \(cumulative)\n"
    }
}

/// Numbers as the text format writes them.
enum SampleText {
    static func text(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value > 0 ? "+Inf" : "-Inf" }
        if value == value.rounded(), abs(value) < 1e15 { return String(Int64(value)) }
        return "\(value)"
    }
}
