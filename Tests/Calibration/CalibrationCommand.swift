import Foundation

/// `Calibration [--only SECTION] [--scale FACTOR] [--out FILE]`: whether the engine's statistics keep their promises on series
/// whose truth is known. Ends with 1 when a promise is surely broken.
@main
enum CalibrationCommand {
    struct Usage: Error, CustomStringConvertible {
        var description: String {
            let names = CalibrationCommand.sections.map(\.name).joined(separator: "|")
            return "usage: Calibration [--only \(names)] [--scale FACTOR] [--out FILE] | --references FILE"
        }
    }

    /// A group of figures; `run` takes how many times the usual number of trials to make.
    struct Section: Sendable {
        var name: String
        var about: String
        var run: @Sendable (Double) -> [CalibrationRow]
    }

    static let sections = [
        NullGraphs.section, SharedFactors.section, PairStatistics.section, PowerAndLag.section, LinkBreaks.section,
        PlantedForecasts.section,
    ]

    static func main() throws {
        var only: String?
        var scale = 1.0
        var out: String?
        var arguments = CommandLine.arguments.dropFirst().makeIterator()
        while let argument = arguments.next() {
            switch argument {
            case "--only": only = arguments.next()
            case "--out": out = arguments.next()
            case "--references":
                guard let path = arguments.next() else { throw Usage() }
                return try References.write(to: path, count: 120)
            case "--scale":
                guard let factor = arguments.next().flatMap(Double.init), factor > 0, factor <= 100 else {
                    throw Usage()
                }
                scale = factor
            default: throw Usage()
            }
        }
        let chosen = Self.sections.filter { only == nil || $0.name == only }
        guard !chosen.isEmpty else { throw Usage() }
        var rows: [CalibrationRow] = []
        for section in chosen {
            print("\n### \(section.name)\n\n\(section.about)\n")
            print("| what | value | 95 % interval | of | goal | |\n|---|---|---|---|---|---|")
            let found = section.run(scale)
            for row in found { print(row.line) }
            rows += found
        }
        let counts = Dictionary(grouping: rows, by: \.verdict).mapValues(\.count)
        print(
            "\n\(counts[.met] ?? 0) promises met, \(counts[.withinNoise] ?? 0) within noise, "
                + "\(counts[.missed] ?? 0) missed")
        if let out {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
            try encoder.encode(rows).write(to: URL(filePath: out), options: .atomic)
        }
        if counts[.missed] ?? 0 > 0 { exit(1) }
    }
}
