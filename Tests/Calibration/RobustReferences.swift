import Engine
import Foundation
import Model
import PlantedData

/// Medians, scales, quantiles, ranks and partial correlations of random and adversarial rows.
enum RobustReferences {
    private struct Robust: Codable {
        var kind = "robust"
        var values: [Double]
        var share: Double
        var median: Double?
        var upperMedian: Double?
        var scale: Double?
        var quantile: Double
        var noise: Double
        var sampleMedian: Double
        var sampleQuantile: Double
    }

    private struct Ranks: Codable {
        var kind = "ranks"
        var first: [Double?]
        var second: [Double?]
        var value: Double?
    }

    private struct Partial: Codable {
        var kind = "partial"
        var rows: [[Double]]
        var value: Double?
    }

    private struct Explained: Codable {
        struct Link: Codable {
            var first: Int
            var second: Int
            var explainedBy: Int?
        }
        var kind = "explained"
        var rows: [[Double]]
        var threshold: Double
        var links: [Link]
    }

    /// - Parameter count: rows of each kind.
    static func add(count: Int, to lines: inout ReferenceLines) throws {
        var random = RandomStream(seed: 78)
        for (place, kind) in References.Kind.allCases.enumerated() {
            for number in 0..<count {
                let rows = References.rows(kind, seed: UInt64(2_000_000 + place * 10_000 + number), number: number)
                try lines.add(Self.robust(rows[number % rows.count], share: Self.share(&random)))
                try lines.add(Ranks(first: rows[0].known, second: rows[1].known, value: Self.ranks(rows[0], rows[1])))
                if kind != .gaps { try lines.add(Self.partial(Array(rows.prefix(3)))) }
            }
        }
        for number in 0..<count { try lines.add(Self.explained(seed: UInt64(3_000_000 + number), &random)) }
    }

    private static func share(_ random: inout RandomStream) -> Double {
        random.below(5) == 0 ? [0, 0.5, 0.95, 1][random.below(4)] : random.uniform()
    }

    private static func robust(_ row: [Double], share: Double) -> Robust {
        let values = row.filter(\.isFinite)
        let sorted = values.sorted()
        return Robust(
            values: values, share: share, median: RobustScale.median(values),
            upperMedian: RobustScale.upperMedian(values), scale: RobustScale.medianAndScale(values)?.scale,
            quantile: RobustScale.quantile(ofSorted: sorted, share), noise: RobustScale.noise(ofChanges: values),
            sampleMedian: SampleQuantile.median(row), sampleQuantile: SampleQuantile.quantile(share, ofSorted: sorted))
    }

    private static func ranks(_ one: [Double], _ other: [Double]) -> Double? {
        RankCorrelation.value(RankCorrelation.ranks(one[...]), RankCorrelation.ranks(other[...]))
    }

    private static func partial(_ rows: [[Double]]) -> Partial {
        let whole = FormulaReferences.correlation(rows[0], rows[1])
        let (first, second) = (
            FormulaReferences.correlation(rows[0], rows[2]), FormulaReferences.correlation(rows[1], rows[2])
        )
        guard whole.isFinite, first.isFinite, second.isFinite else { return Partial(rows: rows) }
        return Partial(rows: rows, value: PartialCorrelation.value(whole, first: first, second: second))
    }

    /// Nodes that follow one factor more and less closely, some of them also one another.
    private static func explained(seed: UInt64, _ random: inout RandomStream) -> Explained {
        var planted = PlantedSeries(seed: seed, length: 60 + random.below(120))
        let factor = planted.noise(memory: [0, 0.5][random.below(2)])
        var rows: [[Double]] = []
        for _ in 0..<4 + random.below(4) {
            let other = rows.isEmpty || random.below(3) > 0 ? factor : rows[random.below(rows.count)]
            let weight = random.uniform()
            rows.append(zip(other, planted.noise()).map { weight * $0 + (1 - weight * weight).squareRoot() * $1 })
        }
        // A factor that is seen explains what follows it.
        if random.below(2) == 0 { rows.append(factor) }
        let threshold = 0.1 + 0.6 * random.uniform()
        let found = PlantedGraph.evaluate(rows, present: rows[0].count, baseline: 0, lag: 0, threshold: threshold)
        return Explained(
            rows: rows, threshold: threshold,
            links: found.accepted.map {
                .init(
                    first: PlantedGraph.row($0.source), second: PlantedGraph.row($0.target),
                    explainedBy: $0.explainedBy.map(PlantedGraph.row))
            })
    }
}
