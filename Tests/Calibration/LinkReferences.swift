import Engine
import Foundation
import Model
import PlantedData

/// Whitening of a node's series, the sequential test of a link, and alarm levels.
enum LinkReferences {
    private struct Whitened: Codable {
        var kind = "whitening"
        var row: [Double?]
        var clip: Double
        var recent: Int
        /// Nil: nothing can be learnt from the row.
        var phi: Double?
        var centre: Double?
        var scale: Double?
        var bound: Double?
        var usual: Double?
        /// Nil: infinite.
        var loud: Double?
        var clipped: [Double?]
        var levelled: [Double?]
    }

    private struct Break: Codable {
        var kind = "break"
        /// u and v of the baseline in turn, and of what follows.
        var baseline: [Double]
        var following: [Double]
        var least: Int
        var limit: Double
        /// Nil: there is nothing to lose.
        var rho: Double?
        var exponent: Double?
        var angleExponent: Double?
        var evidence: [Double]
    }

    private struct Budget: Codable {
        var kind = "budget"
        var alarmsPerNodeDay: Double
        var bucketMs: Int64
        var sharers: Int
        var normal: Double
        var sequential: Double
    }

    private struct Alarms: Codable {
        struct Found: Codable {
            var link: [Int]
            var statistic: Double
            /// The level it was told with; nil: it was not.
            var level: Double?
        }
        var kind = "alarms"
        var unit: LinkAlarms.Unit
        var base: Double
        var bucketMs: Int64
        var alarmsPerNodeDay: Double
        var buckets: [[Found]]
    }

    /// - Parameter count: rows of each kind, links, budgets, a tenth of it event histories.
    static func add(count: Int, to lines: inout ReferenceLines) throws {
        var random = RandomStream(seed: 79)
        for (place, kind) in References.Kind.allCases.enumerated() {
            for number in 0..<count {
                let rows = References.rows(kind, seed: UInt64(4_000_000 + place * 10_000 + number), number: number)
                try lines.add(Self.whitened(rows[number % rows.count], recent: [5, 10, 30][number % 3]))
            }
        }
        for number in 0..<3 * count {
            try lines.add(Self.linkBreak(seed: UInt64(5_000_000 + number), &random))
            try lines.add(Self.budget(&random))
        }
        for number in 0..<max(1, count / 10) { try lines.add(Self.alarms(number, &random)) }
    }

    private static func whitened(_ row: [Double], recent: Int) -> Whitened {
        let clip = 3.0
        guard let found = Whitening(baseline: row[...], clip: clip, recent: recent, turn: 0) else {
            return Whitened(row: row.known, clip: clip, recent: recent, clipped: [], levelled: [])
        }
        var (clipped, levelled) = (row, row)
        clipped.withUnsafeMutableBufferPointer { found.clip(row[...], into: $0) }
        levelled[0] = .nan
        levelled.withUnsafeMutableBufferPointer { found.level(row[...], 1..<row.count, into: $0) }
        return Whitened(
            row: row.known, clip: clip, recent: recent, phi: found.phi, centre: found.centre, scale: found.scale,
            bound: found.bound, usual: found.usual, loud: found.loud.isFinite ? found.loud : nil,
            clipped: clipped.known, levelled: levelled.known)
    }

    /// Values of any correlation, light and heavy tailed, some of them wild, and what follows a change or none.
    private static func linkBreak(seed: UInt64, _ random: inout RandomStream) -> Break {
        var planted = PlantedSeries(seed: seed, length: 40 + random.below(400))
        let (heavy, wild) = (random.below(2) == 0, random.below(4) == 0)
        func values(rho: Double) -> [SIMD2<Double>] {
            let (one, two) = heavy ? (planted.heavyTailed(), planted.heavyTailed()) : (planted.noise(), planted.noise())
            return zip(one, two).map { u, v in
                let value = SIMD2(u, rho * u + (1 - rho * rho).squareRoot() * v)
                return wild && planted.random.below(30) == 0 ? 1e6 * value : value
            }
        }
        let rho = random.below(10) == 0 ? [1, -1, 0][random.below(3)] : 2 * random.uniform() - 1
        let (baseline, least, limit) = (values(rho: rho), 60, 30.0)
        let following = Array(values(rho: random.below(2) == 0 ? rho : 0).prefix(60))
        func flat(_ values: [SIMD2<Double>]) -> [Double] { values.flatMap { [$0.x, $0.y] } }
        let model = BreakModel(baseline: baseline, least: least)
        var sums = SIMD2<Double>.zero
        let evidence = following.compactMap { value -> Double? in
            guard let model else { return nil }
            sums = model.advance(sums, by: value, limit: limit)
            return BreakModel.evidence(sums)
        }
        return Break(
            baseline: flat(baseline), following: flat(following), least: least, limit: limit, rho: model?.rho,
            exponent: model?.exponent, angleExponent: model?.angleExponent, evidence: evidence)
    }

    private static func budget(_ random: inout RandomStream) -> Budget {
        let budget = AlarmBudget(alarmsPerNodeDay: pow(10, 4 * random.uniform() - 4))
        let bucketMs = Int64(1 + random.below(200_000_000)) / Int64([1, 1_000, 1_000_000][random.below(3)]) + 1
        let sharers = 1 + random.below(500)
        return Budget(
            alarmsPerNodeDay: budget.alarmsPerNodeDay, bucketMs: bucketMs, sharers: sharers,
            normal: budget.normalLevel(bucketMs: bucketMs, sharers: sharers),
            sequential: budget.sequentialLevel(bucketMs: bucketMs, sharers: sharers))
    }

    /// Links of few nodes that go beyond their base level for some buckets, over and over.
    private static func alarms(_ number: Int, _ random: inout RandomStream) -> Alarms {
        let unit = number % 2 == 0 ? LinkAlarms.Unit.nats : .deviations
        let nodes = 3 + random.below(4)
        let links = (0..<nodes).flatMap { source in (source + 1..<nodes).map { (source, $0) } }
        var isBeyond = [Bool](repeating: false, count: links.count)
        let budget = AlarmBudget(alarmsPerNodeDay: 0.05 + 5 * random.uniform())
        let (base, bucketMs) = (7.5, Int64([60_000, 3_600_000][random.below(2)]))
        var alarms = LinkAlarms(unit)
        let buckets = (0..<300).map { bucket -> [Alarms.Found] in
            let findings = links.indices.compactMap { place -> Finding? in
                if random.below(8) == 0 { isBeyond[place].toggle() }
                guard isBeyond[place] else { return nil }
                return Finding(
                    kind: .correlationBreak, event: "e", node: PlantedGraph.node(links[place].0),
                    target: PlantedGraph.node(links[place].1),
                    windowEnd: Timestamp(milliseconds: Int64(bucket) * bucketMs), bucketMs: bucketMs,
                    statistic: base + 1.5 * unit.room * (1e-6 + random.uniform()), level: base, values: [:], reason: "")
            }
            let told = alarms.keep(findings, bucketMs: bucketMs, budget: budget)
            return findings.map { finding in
                Alarms.Found(
                    link: [finding.node, finding.target ?? finding.node].map(PlantedGraph.row),
                    statistic: finding.statistic,
                    level: told.first { $0.node == finding.node && $0.target == finding.target }?.level)
            }
        }
        return Alarms(
            unit: unit, base: base, bucketMs: bucketMs, alarmsPerNodeDay: budget.alarmsPerNodeDay, buckets: buckets)
    }
}
