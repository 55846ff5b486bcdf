import Instrumentation

/// One measurement of a bucket that can be looked at: its value, when it was made, and the trace it belongs to.
struct Exemplar: Hashable, Sendable {
    let trace: TraceID
    let value: Double
    /// Since 1970.
    let milliseconds: Int64

    /// The present task's trace, when that is exported; what nobody can look up is no example.
    static func current(of value: Double) -> Exemplar? {
        guard let trace = InstrumentationContext.current?.traceContext, trace.isSampled else { return nil }
        return Exemplar(trace: trace.traceID, value: value, milliseconds: WallClock.milliseconds())
    }

    /// ` # {trace_id="4bf92f3577b34da6a3ce929d0e0e4736"} 0.042 1700000000.123`, as it stands behind a bucket.
    var text: String {
        let fraction = String(self.milliseconds % 1_000)
        let padded = String(repeating: "0", count: 3 - fraction.count) + fraction
        return
            " # {trace_id=\"\(self.trace)\"} \(SampleText.text(self.value)) \(self.milliseconds / 1_000).\(padded)"
    }
}
