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

/// Changes one of the seeds in a few places: bytes, pieces of other seeds, pieces twice, pieces left out.
private struct Mutation {
    private var random: SplitMix
    /// What separates and ends things in the languages read here.
    private static let marks = Array("\r\n\t :;,=.\"{}[]%/?&#-_+\\@0fA\u{0}\u{7F}\u{80}\u{FF}".utf8)

    init(seed: UInt64) { self.random = SplitMix(seed: seed) }

    func mutated(_ seeds: [[UInt8]]) -> [UInt8] {
        var random = self.random
        func below(_ bound: Int) -> Int { Int(random.below(UInt64(max(1, bound)))) }
        func piece(of bytes: [UInt8]) -> ArraySlice<UInt8> {
            let start = below(bytes.count)
            return bytes[start..<min(bytes.count, start + 1 + below(24))]
        }
        var bytes = seeds[below(seeds.count)]
        for _ in 0..<(1 + below(6)) {
            let place = below(bytes.count + 1)
            switch below(6) {
            case 0 where place < bytes.count: bytes[place] = UInt8(below(256))
            case 1 where place < bytes.count: bytes[place] = Self.marks[below(Self.marks.count)]
            case 2: bytes.insert(Self.marks[below(Self.marks.count)], at: place)
            case 3 where !bytes.isEmpty: bytes.insert(contentsOf: piece(of: bytes), at: place)
            case 4: bytes.insert(contentsOf: piece(of: seeds[below(seeds.count)]), at: place)
            default: bytes.removeSubrange(place..<min(bytes.count, place + 1 + below(8)))
            }
        }
        return bytes
    }
}
