import CoreMetrics

/// What of the machine evaluation is to use, and what one that was run to find out did use.
struct HardwareGauges: Sendable {
    let threads: (wanted: Meter, found: Meter)
    let vectors: (wanted: Meter, found: Meter)

    init(factory: any MetricsFactory = MetricsSystem.factory) {
        func pair(_ name: String) -> (wanted: Meter, found: Meter) {
            (
                Meter(label: name + "_wanted", dimensions: [], factory: factory),
                Meter(label: name, dimensions: [], factory: factory)
            )
        }
        self.threads = pair("correlation_engine_worker_threads")
        self.vectors = pair("correlation_engine_simd_enabled")
    }
}
