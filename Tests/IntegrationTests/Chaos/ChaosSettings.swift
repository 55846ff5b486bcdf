import Foundation

/// How much trouble the tests of this folder make: the table is in `docs/architecture.md`. The defaults suit `make test`.
enum ChaosSettings {
    static var kills: Int { Self.number("CHAOS_KILLS", 8) }
    static var snapshotKills: Int { Self.number("CHAOS_SNAPSHOT_KILLS", 4) }
    static var scoringKills: Int { Self.number("CHAOS_SCORING_KILLS", 4) }
    static var pauseSeconds: Int { Self.number("CHAOS_PAUSE_SECONDS", 6) }
    static var joins: Int { Self.number("CHAOS_JOINS", 2) }
    static var holdSeconds: Int { Self.number("CHAOS_HOLD_SECONDS", 3) }
    /// Whether tests that take minutes run: `make test-faults`.
    static var isInFull: Bool { ProcessInfo.processInfo.environment["FAULTS_IN_FULL"] == "1" }
    static var seed: Int { Self.number("CHAOS_SEED", 1) }

    private static func number(_ name: String, _ fallback: Int) -> Int {
        ProcessInfo.processInfo.environment[name].flatMap { Int($0) } ?? fallback
    }
}

/// The same numbers on every machine: SplitMix64 (Steele, Lea and Flood 2014).
struct ChaosNumbers: RandomNumberGenerator {
    private var state: UInt64

    init(seed: Int) { self.state = UInt64(truncatingIfNeeded: seed) &* 0x9E37_79B9_7F4A_7C15 &+ 1 }

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var z = self.state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
