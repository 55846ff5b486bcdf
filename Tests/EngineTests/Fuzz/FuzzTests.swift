import Fuzzing
import Testing

/// Inputs nobody would send, from seeds and from a kept folder.
@Suite("Bounded fuzzing of the engine")
struct FuzzTests {
    @Test("every input that was once tricky is taken without a fault", arguments: FuzzTarget.allCases)
    func kept(target: FuzzTarget) throws {
        let inputs = try FuzzCorpus().inputs(target.rawValue)
        #expect(!inputs.isEmpty)
        for input in inputs { #expect(target.faults(FuzzInput(input.bytes)) == [], "\(input.name)") }
    }

    @Test("bytes at random are taken without a fault", arguments: FuzzTarget.allCases)
    func random(target: FuzzTarget) async throws {
        let failure = try await FuzzLoop(target: target.rawValue).run {
            FuzzInput(seed: $0, count: 64 + Int($0 % 7) * 300).bytes
        } faults: {
            target.faults(FuzzInput($0))
        }
        #expect(failure == nil)
    }
}
