import Foundation
import Glibc

/// One line of the benchmark table.
struct Measurement: Codable {
    var name: String
    /// Median over rounds, in `unit`.
    var value: Double
    var unit: String
    /// What it is compared with, and how many times better we are.
    var peer: String?
    var peerValue: Double?
    var ratio: Double?
    /// (90 % quantile - 10 % quantile) / median over rounds.
    var spread: Double
    /// What a growth was measured at.
    var sizes: [Size]?

    struct Size: Codable {
        var size: Int
        var seconds: Double
    }

    /// Times `body` in rounds of `repeats` calls after one round of warm-up.
    /// - Parameters:
    ///   - peer: what microseconds of the system this replaces; the ratio is peer / value.
    ///   - isProcessorTime: counts the time the thread runs, whatever else the machine does beside it.
    static func time(
        _ name: String, rounds: Int = 41, repeats: Int, peer: (name: String, microseconds: Double)? = nil,
        isProcessorTime: Bool = false, _ body: () throws -> Void
    ) rethrows -> Measurement {
        var samples: [Double] = []
        let clock = isProcessorTime ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC
        for round in 0...rounds {
            let start = Self.seconds(clock)
            for _ in 0..<repeats { try body() }
            if round > 0 { samples.append((Self.seconds(clock) - start) * 1e6 / Double(repeats)) }
        }
        samples.sort()
        let median = samples[samples.count / 2]
        let spread = (samples[samples.count * 9 / 10] - samples[samples.count / 10]) / median
        return Measurement(
            name: name, value: median, unit: "us", peer: peer?.name, peerValue: peer?.microseconds,
            ratio: peer.map { $0.microseconds / median }, spread: spread)
    }

    static func seconds(_ clock: clockid_t) -> Double {
        var time = timespec()
        clock_gettime(clock, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }
}

/// A benchmark found its own answer wrong.
struct WrongAnswer: Error, CustomStringConvertible {
    let description: String
}

/// A group of measurements over one seeded input.
struct BenchmarkCase: Sendable {
    /// For `--only`.
    let name: String
    /// Prints seed, threads and dtype of its input, checks its answer, and measures.
    let run: @Sendable () throws -> [Measurement]
}
