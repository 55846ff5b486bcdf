import CoreMetrics
import Synchronization

/// Ended spans that wait for export. Bounded: when it is full, new ones are dropped and counted, never the request delayed.
public final class SpanQueue: Sendable {
    public let limit: Int
    private let dropped: Counter
    private let exported: Counter
    private let state = Mutex(State())

    private struct State {
        var spans: [FinishedSpan] = []
        var droppedCount = 0
    }

    public init(limit: Int = 4_096, metrics: any MetricsFactory = MetricsSystem.factory) {
        precondition(limit > 0, "a queue needs room")
        self.limit = limit
        self.dropped = Counter(label: "trace_spans_dropped_total", dimensions: [], factory: metrics)
        self.exported = Counter(label: "trace_spans_exported_total", dimensions: [], factory: metrics)
    }

    public var count: Int { self.state.withLock { $0.spans.count } }
    public var droppedCount: Int { self.state.withLock { $0.droppedCount } }

    /// Keeps `span` for export, or drops and counts it when there is no room.
    public func append(_ span: FinishedSpan) {
        let isKept = self.state.withLock { state in
            guard state.spans.count < self.limit else {
                state.droppedCount += 1
                return false
            }
            state.spans.append(span)
            return true
        }
        if !isKept { self.dropped.increment() }
    }

    /// Takes the oldest spans out.
    public func take(atMost count: Int) -> [FinishedSpan] {
        self.state.withLock { state in
            let taken = Array(state.spans.prefix(count))
            state.spans.removeFirst(taken.count)
            return taken
        }
    }

    /// Counts spans that a collector has taken, as its answer said.
    func countExported(_ count: Int) { self.exported.increment(by: count) }

    func countDropped(_ count: Int) {
        self.state.withLock { $0.droppedCount += count }
        self.dropped.increment(by: count)
    }
}
