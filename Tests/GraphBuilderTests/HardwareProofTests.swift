import Engine
import Foundation
import Testing

@testable import GraphBuilder

@Suite("What evaluation uses of the machine", .serialized)
struct HardwareProofTests {
    @Test(
        "as many threads as asked for are at work at once, and kernels of the kind asked for run", arguments: [1, 2, 5])
    func proof(threads: Int) {
        defer {
            EngineHardware.usesVectors = true
            EngineHardware.useThreads(1) { count, body in for index in 0..<count { body(index) } }
        }
        // GCD has no more threads than there are processors.
        let possible = min(threads, ProcessInfo.processInfo.activeProcessorCount)
        for usesVectors in [true, false] {
            EngineHardware.usesVectors = usesVectors
            #expect(HardwareProof.run(threads: possible) == HardwareProof(threads: possible, usesVectors: usesVectors))
        }
    }
}
