import CoreMetrics
import Engine
import Foundation
import Model
import ServiceRuntime
import Synchronization

/// What of graph-builder can be changed while it runs.
extension GraphBuilder {
    /// At the start and when one of the two is changed: the proof counts lanes, and evaluations that are under way have some, too.
    static func followHardware(_ live: LiveSettings, gauges: HardwareGauges) {
        let known = Mutex<[Bool]>([])
        live.observe { settings in
            let wanted = [settings.flag("USE_WORKER_THREADS"), settings.flag("ENABLE_SIMD")]
            let isNew = known.withLock { known in
                defer { known = wanted }
                return known != wanted
            }
            if isNew { Self.useHardware(settings, gauges: gauges) }
        }
    }

    /// Threads and instructions: they change how long an evaluation takes, never its outcome.
    private static func useHardware(_ settings: ServiceSettings, gauges: HardwareGauges) {
        let threads = settings.flag("USE_WORKER_THREADS") ? ProcessInfo.processInfo.activeProcessorCount : 1
        EngineHardware.usesVectors = settings.flag("ENABLE_SIMD")
        gauges.threads.wanted.set(min(threads, EngineHardware.threadLimit))
        gauges.vectors.wanted.set(settings.flag("ENABLE_SIMD") ? 1 : 0)
        let proof = HardwareProof.run(threads: threads)
        gauges.threads.found.set(proof.threads)
        gauges.vectors.found.set(proof.usesVectors ? 1 : 0)
    }

    static func follow(_ live: LiveSettings, layers: LayerControl, memory: MemoryWatch, engine: EvaluationEngine) {
        live.observe { settings in
            let off = (settings.optionalText("LAYERS_OFF") ?? "").split(separator: ",").compactMap {
                Layer(code: String($0))
            }
            layers.set(LayerMachine.Options(off: Set(off), standby: settings.text("L4_MODE") == "standby"))
            memory.set(ceilingBytes: settings.integer("MEMORY_CEILING_BYTES"))
            let rate = settings.integer("MAX_GRAPHS_PER_SECOND")
            // Ends as soon as the engine has a moment; two changes in a row are told in order by the actor's queue.
            Task { await engine.limit(graphsPerSecond: rate) }
        }
    }

    static func watchHealth(
        _ health: HealthMonitor, layers: LayerControl, memory: MemoryWatch, database: Circuit
    ) {
        health.add(circuits: { (layers.circuits, layers.troubles) })
        health.add(database: database)
        health.add(circuits: { ([:], memory.reason.map { [$0] } ?? []) })
    }
}
