import Foundation
import Testing

/// Inputs nobody would send, from seeds and from a kept folder. A trap ends the process: the input in hand is then found in the
/// temporary folder as `undercurrent-fuzz-TARGET.hex`; it goes into `Corpus`, under a name that says what was wrong.
///
/// `FUZZ_SECONDS` sets how long each target is tried (default 1), `FUZZ_SEED` where seeds begin.
@Suite("Bounded fuzzing")
struct FuzzTests {
    private static let corpus = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Corpus")
    private static let environment = ProcessInfo.processInfo.environment

    @Test("every input that was once tricky is taken without a fault", arguments: FuzzTarget.allCases)
    func kept(target: FuzzTarget) throws {
        let folder = Self.corpus.appending(path: target.rawValue)
        let files = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
            .filter { $0.pathExtension == "hex" }
        #expect(!files.isEmpty)
        for file in files {
            let input = FuzzInput(corpus: try String(contentsOf: file, encoding: .utf8))
            #expect(target.faults(input) == [], "\(file.lastPathComponent)")
        }
    }

    @Test("bytes at random are taken without a fault", arguments: FuzzTarget.allCases)
    func random(target: FuzzTarget) throws {
        let seconds = Self.environment["FUZZ_SECONDS"].flatMap(Double.init) ?? 1
        var seed = Self.environment["FUZZ_SEED"].flatMap(UInt64.init) ?? 1
        let inHand = FileManager.default.temporaryDirectory.appending(path: "undercurrent-fuzz-\(target.rawValue).hex")
        defer { try? FileManager.default.removeItem(at: inHand) }
        let end = ContinuousClock.now + .seconds(seconds)
        // At least some, on the slowest machine.
        var rounds = 0
        while rounds < 20 || ContinuousClock.now < end {
            let input = FuzzInput(seed: seed, count: 64 + Int(seed % 7) * 300)
            try input.hex.write(to: inHand, atomically: false, encoding: .utf8)
            let faults = target.faults(input)
            #expect(faults == [], "seed \(seed): \(input.hex)")
            if !faults.isEmpty { return }
            seed &+= 1
            rounds += 1
        }
    }
}
