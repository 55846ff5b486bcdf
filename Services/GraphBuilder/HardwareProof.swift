import Dispatch
import Engine
import Glibc
import Model
import Synchronization

/// What an evaluation really uses of the machine: one of made-up series is run, and who works at it is counted.
struct HardwareProof: Hashable, Sendable {
    /// Threads that were at work at the same time.
    var threads: Int
    var usesVectors: Bool

    /// Lanes of one evaluation wait for one another this long at most: a thread that is there comes, however busy the machine.
    static let patience = Duration.seconds(1)

    /// Spreads lanes over GCD's threads and counts how many are at work at once.
    private final class Lanes: Sendable {
        private struct Count {
            var atWork = 0
            var most = 1
            var isTiredOfWaiting = false
        }

        private let count = Mutex(Count())

        var most: Int { self.count.withLock { $0.most } }

        func spread(_ lanes: Int, _ body: @Sendable (Int) -> Void) {
            DispatchQueue.concurrentPerform(iterations: lanes) { lane in
                self.count.withLock { count in
                    count.atWork += 1
                    count.most = max(count.most, count.atWork)
                }
                self.waitForOthers(lanes)
                body(lane)
                self.count.withLock { $0.atWork -= 1 }
            }
        }

        /// Lanes this short may all be done by one thread before another has come.
        private func waitForOthers(_ lanes: Int) {
            let deadline = ContinuousClock.now + HardwareProof.patience
            while self.count.withLock({ $0.most < lanes && !$0.isTiredOfWaiting }) {
                if ContinuousClock.now > deadline { self.count.withLock { $0.isTiredOfWaiting = true } }
                sched_yield()
            }
        }
    }

    /// Runs the evaluation with as many threads as asked for, and leaves the engine with them.
    static func run(threads: Int) -> HardwareProof {
        let lanes = Lanes()
        EngineHardware.useThreads(threads) { lanes.spread($0, $1) }
        _ = Evaluation.evaluate(Self.input(tiles: threads))
        EngineHardware.useThreads(threads) { DispatchQueue.concurrentPerform(iterations: $0, execute: $1) }
        // An evaluation that has begun before, with more threads, goes on through the same lanes.
        return HardwareProof(threads: min(lanes.most, max(1, threads)), usesVectors: EngineHardware.ranVectors ?? false)
    }

    /// Nodes of one event, enough of them for that many pieces of screening: n blocks of 64 nodes make n (n + 1) / 2.
    private static func input(tiles: Int) -> EvaluationInput {
        var blocks = 1
        while blocks * (blocks + 1) / 2 < tiles { blocks += 1 }
        let (nodes, length) = (64 * blocks, 32)
        var seed: UInt64 = 1
        let values = (0..<nodes * length).map { _ in
            seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Double(seed >> 40)
        }
        // Nodes are in ascending order.
        let names = (0..<nodes).map { NodeKey(domain: "d", event: "e", market: "m", venue: String(10_000 + $0)) }
        return EvaluationInput(
            domain: "d",
            block: SeriesBlock(
                nodes: names, bucketMs: 1_000, windowEnd: Timestamp(milliseconds: Int64(length) * 1_000),
                length: length, values: values),
            shape: WindowShape(present: 8, baseline: 24, lag: 0), events: ["e"])
    }
}
