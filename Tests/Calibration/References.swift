import Engine
import Foundation
import Model
import PlantedData

/// Random and adversarial inputs with the engine's numbers for each, as JSON lines: scripts/references compares them with
/// scipy, statsmodels and scikit-learn. Here whole windows with all their pairs; other files have single formulas.
enum References {
    enum Kind: String, CaseIterable, Codable {
        case white, memory, heavy, offset, nearlyConstant, constant, short, spiky, gaps, counts, ties
    }

    private struct Pair: Codable {
        var first: Int
        var second: Int
        /// Nil: accepted.
        var reason: String?
        var score: Double?
        var effectiveSize: Double?
        var qValue: Double?
        var pValue: Double?
        var low: Double?
        var high: Double?
        var slope: Double?
    }

    private struct Case: Codable {
        var kind: Kind
        /// Null where nothing is known.
        var rows: [[Double?]]
        var pairs: [Pair]
    }

    static let nodes = 4

    /// - Parameter count: graphs of six pairs per kind.
    static func write(to path: String, count: Int) throws {
        var lines = ReferenceLines()
        for (place, kind) in Kind.allCases.enumerated() {
            for number in 0..<count {
                let rows = Self.rows(kind, seed: UInt64(place * 100_000 + number), number: number)
                try lines.add(Case(kind: kind, rows: rows.map(\.known), pairs: Self.pairs(rows)))
            }
        }
        try FormulaReferences.add(count: 10 * count, to: &lines)
        try RobustReferences.add(count: count, to: &lines)
        try LinkReferences.add(count: count, to: &lines)
        try ChangeReferences.add(count: 10 * count, to: &lines)
        try lines.data.write(to: URL(filePath: path))
    }

    private static func pairs(_ rows: [[Double]]) -> [Pair] {
        let found = PlantedGraph.evaluate(
            rows, present: rows[0].count, baseline: 0, lag: 0, threshold: 0, keepsRejected: true)
        let accepted = found.accepted.map { edge -> Pair in
            let (source, target) = (PlantedGraph.row(edge.source), PlantedGraph.row(edge.target))
            return Pair(
                first: source, second: target, score: edge.score, effectiveSize: edge.effectiveSize,
                qValue: edge.qValue,
                pValue: edge.pValue, low: edge.intervalLow, high: edge.intervalHigh, slope: edge.expectedPropagation)
        }
        return accepted
            + found.rejected.map {
                Pair(
                    first: PlantedGraph.row($0.first), second: PlantedGraph.row($0.second), reason: $0.reason.rawValue,
                    score: $0.score, effectiveSize: $0.effectiveSize, qValue: $0.qValue)
            }
    }

    /// Four rows of one kind.
    static func rows(_ kind: Kind, seed: UInt64, number: Int) -> [[Double]] {
        var planted = PlantedSeries(seed: seed, length: kind == .short ? 11 + number % 20 : 60 + number % 80)
        return Self.rows(kind, &planted)
    }

    /// Two of the four rows follow the first by half.
    private static func rows(_ kind: Kind, _ planted: inout PlantedSeries) -> [[Double]] {
        let memory = kind == .memory ? 0.8 : 0.0
        let common = planted.noise(memory: memory)
        return (0..<Self.nodes).map { row in
            let own = kind == .heavy ? planted.heavyTailed() : planted.noise(memory: memory)
            let mixed = row < 3 ? zip(common, own).map { 0.7 * $0 + 0.7 * $1 } : own
            return self.distorted(mixed, kind, row, &planted)
        }
    }

    private static func distorted(
        _ values: [Double], _ kind: Kind, _ row: Int, _ planted: inout PlantedSeries
    ) -> [Double] {
        switch kind {
        case .white, .memory, .heavy, .short: return values
        case .offset: return values.map { 1e9 + $0 }
        case .nearlyConstant: return row == 0 ? values.indices.map { $0 == 7 ? 1 : 0 } : values.map { 5 + 1e-7 * $0 }
        case .constant: return row < 2 ? values.map { _ in 3.25 } : values
        case .spiky: return values.map { planted.random.uniform() < 0.04 ? 1e6 * $0 : $0 }
        case .gaps: return values.map { planted.random.uniform() < 0.2 ? .nan : $0 }
        case .counts: return values.map { max(0, (2 + 2 * $0).rounded()) }
        case .ties: return values.map { $0 > 1.2 ? 1 : 0 }
        }
    }
}
