import Fuzzing
import Testing

/// Every reader of what strangers send, with kept inputs and with random changes of them.
@Suite("Bounded fuzzing of header and token parsers")
struct ParserFuzzTests {
    @Test("every input that attacks a parser is read without a fault", arguments: ParserTarget.allCases)
    func kept(target: ParserTarget) async throws {
        let inputs = try FuzzCorpus().inputs(target.rawValue)
        #expect(!inputs.isEmpty)
        for input in inputs { #expect(await target.faults(input.bytes) == [], "\(input.name)") }
    }

    @Test("what is changed at random is read without a fault", arguments: ParserTarget.allCases)
    func random(target: ParserTarget) async throws {
        var seeds = try FuzzCorpus().inputs(target.rawValue).map(\.bytes)
        seeds += target.madeSeeds
        let failure = try await FuzzLoop(target: target.rawValue).run {
            Mutation(seed: $0).mutated(seeds)
        } faults: {
            await target.faults($0)
        }
        #expect(failure == nil)
    }
}
