import Foundation

/// `Benchmarks [--out FILE] [--only NAME]`: runs the benchmarks, prints a table, writes JSON.
@main
enum BenchmarksCommand {
    /// Every group; add a line for a new one.
    static let cases: [BenchmarkCase] = [
        LayersBenchmark.benchmark, ScreenBenchmark.benchmark, BucketBenchmark.benchmark, GrowthBenchmark.benchmark,
        PeakBenchmark.benchmark, GraphServingBenchmark.benchmark, PathBenchmarks.benchmark,
        PathPeerBenchmark.benchmark,
        DecisionBenchmarks.benchmark, EventBenchmark.benchmark, DetectorBenchmarks.benchmark,
        AllocationBenchmarks.benchmark,
        StatementBenchmarks.benchmark, FleetBenchmark.benchmark, IngestBenchmark.benchmark,
        DeadlineBenchmark.benchmark,
    ]

    static func main() throws {
        var only: String?
        var out: String?
        var arguments = CommandLine.arguments.dropFirst().makeIterator()
        while let argument = arguments.next() {
            switch argument {
            case "--out": out = arguments.next()
            case "--only": only = arguments.next()
            default: throw WrongAnswer(description: "usage: Benchmarks [--out FILE] [--only NAME]")
            }
        }
        var results: [Measurement] = []
        for benchmark in Self.cases where only == nil || benchmark.name == only {
            results += try benchmark.run()
        }
        for result in results { print(Self.line(result)) }
        guard let out else { return }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        try encoder.encode(results).write(to: URL(fileURLWithPath: out))
    }

    private static func line(_ result: Measurement) -> String {
        var line =
            "\(result.name): \(Self.short(result.value)) \(result.unit) (spread \(Self.short(result.spread * 100)) %)"
        if let peer = result.peer, let value = result.peerValue, let ratio = result.ratio {
            line += ", \(peer) \(Self.short(value)) \(result.unit), ratio \(Self.short(ratio))"
        }
        return line
    }

    private static func short(_ value: Double) -> String {
        String(format: value >= 100 ? "%.0f" : value >= 10 ? "%.1f" : "%.2f", value)
    }
}
