import Dispatch
import Engine
import Model
import PlantedData
import Testing

/// The two switches belong to the process, and other suites may run beside: nobody's numbers depend on them.
@Suite("Threads and instruction sets", .serialized)
struct HardwareTests {
    /// Follows two drivers, noise with memory, a large offset, a constant, gaps: enough nodes for several tiles.
    private static func block(nodes: Int, seed: UInt64) -> SeriesBlock {
        var planted = PlantedSeries(seed: seed, length: 172)
        let drivers = [planted.noise(), planted.noise(memory: 0.6)]
        var rows: [NodeKey: [Double]] = [:]
        for index in 0..<nodes {
            let node = PlantedSeries.node("v\(index)", event: "e\(index / 60)", market: "m\(index % 7)")
            switch index % 8 {
            case 0: rows[node] = planted.noise(memory: 0.95)
            case 1: rows[node] = planted.follower(of: drivers[0], lag: index % 3, rho: 0.9).map { 1e9 + 1e-3 * $0 }
            case 2: rows[node] = planted.follower(of: drivers[1], lag: index % 4, rho: -0.93)
            case 3: rows[node] = Array(repeating: 3, count: 172)
            case 4:
                rows[node] = planted.follower(of: drivers[0], lag: 0, rho: 0.9).enumerated().map {
                    $0.offset % 11 == index % 11 ? .nan : $0.element
                }
            default: rows[node] = planted.follower(of: drivers[index % 2], lag: 0, rho: 0.6)
            }
        }
        return PlantedSeries.block(rows)
    }

    private static func use(_ threads: Int, _ usesVectors: Bool) {
        EngineHardware.useThreads(threads) { DispatchQueue.concurrentPerform(iterations: $0, execute: $1) }
        EngineHardware.usesVectors = usesVectors
    }

    @Test("any number of threads, vectors or none: the same graphs to the last digit", arguments: [1, 2] as [UInt64])
    func equal(seed: UInt64) throws {
        defer { Self.use(1, true) }
        var input = EvaluationInput(
            domain: "d", block: Self.block(nodes: seed == 2 ? 140 : 330, seed: seed),
            shape: WindowShape(present: 40, baseline: 120, lag: 4), events: (0..<6).map { "e\($0)" })
        input.includesRejected = seed == 2
        func results() -> [EventEvaluation] { Evaluation.evaluate(input) }
        Self.use(1, true)
        let plain = results()
        #expect(plain.flatMap(\.accepted).count > 100)
        for (threads, usesVectors) in [(1, false), (3, true), (2, false), (64, true)] {
            Self.use(threads, usesVectors)
            #expect(EngineHardware.threads == threads && EngineHardware.usesVectors == usesVectors)
            for (one, other) in zip(results(), plain) {
                #expect(one.layers == other.layers && one.accepted == other.accepted && one.rejected == other.rejected)
            }
        }
    }

    @Test("a number of threads out of range is taken as the nearest one in it")
    func range() {
        defer { Self.use(1, true) }
        Self.use(0, true)
        #expect(EngineHardware.threads == 1)
        Self.use(1_000, true)
        #expect(EngineHardware.threads == EngineHardware.threadLimit)
    }
}
