import Fuzzing
import Testing

/// Every reader of bodies and fields that this service has beside the framework's, with kept inputs and random changes of them.
@Suite("Bounded fuzzing of bodies and request fields")
struct ReaderFuzzTests {
    @Test("every input that attacks a reader is read without a fault", arguments: ReaderTarget.allCases)
    func kept(target: ReaderTarget) throws {
        let inputs = try FuzzCorpus().inputs(target.rawValue)
        #expect(!inputs.isEmpty)
        for input in inputs { #expect(target.faults(input.bytes) == [], "\(input.name)") }
    }

    @Test("what is changed at random is read without a fault", arguments: ReaderTarget.allCases)
    func random(target: ReaderTarget) async throws {
        let seeds = try FuzzCorpus().inputs(target.rawValue).map(\.bytes) + target.madeSeeds
        let failure = try await FuzzLoop(target: target.rawValue).run {
            Mutation(seed: $0).mutated(seeds)
        } faults: {
            target.faults($0)
        }
        #expect(failure == nil)
    }
}
