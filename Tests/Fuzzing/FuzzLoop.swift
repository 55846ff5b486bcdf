import Foundation

/// Tries one target with many inputs for a bounded time. A trap ends the process: the input in hand is then found in the
/// temporary folder as `undercurrent-fuzz-TARGET.hex`; it goes into the corpus, under a name that says what was wrong.
///
/// `FUZZ_SECONDS` sets how long each target is tried (default 1), `FUZZ_SEED` where seeds begin.
package struct FuzzLoop {
    package struct Failure: CustomStringConvertible {
        let seed: UInt64
        let bytes: [UInt8]
        let faults: [String]
        package var description: String { "seed \(self.seed): \(self.faults) for \(FuzzCorpus.hex(self.bytes))" }
    }

    /// Inputs tried at least, on the slowest machine.
    private static let leastRounds = 20

    private let target: String
    private let seconds: Double
    private let firstSeed: UInt64

    package init(target: String) {
        let environment = ProcessInfo.processInfo.environment
        self.target = target
        self.seconds = environment["FUZZ_SECONDS"].flatMap(Double.init) ?? 1
        self.firstSeed = environment["FUZZ_SEED"].flatMap(UInt64.init) ?? 1
    }

    /// - Parameters:
    ///   - input: makes the input of a seed.
    ///   - faults: what must not be and is, in words; nothing when all is well.
    /// - Returns: the first input with faults.
    package func run(input: (UInt64) -> [UInt8], faults: ([UInt8]) async throws -> [String]) async throws -> Failure? {
        let inHand = FileManager.default.temporaryDirectory.appending(path: "undercurrent-fuzz-\(self.target).hex")
        defer { try? FileManager.default.removeItem(at: inHand) }
        let end = ContinuousClock.now + .seconds(self.seconds)
        var seed = self.firstSeed
        var rounds = 0
        while rounds < Self.leastRounds || ContinuousClock.now < end {
            let bytes = input(seed)
            try FuzzCorpus.hex(bytes).write(to: inHand, atomically: false, encoding: .utf8)
            let found = try await faults(bytes)
            guard found.isEmpty else { return Failure(seed: seed, bytes: bytes, faults: found) }
            seed &+= 1
            rounds += 1
        }
        return nil
    }
}
