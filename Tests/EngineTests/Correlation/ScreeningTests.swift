import Model
import PlantedData
import Testing

@testable import Engine

@Suite("Screening")
struct ScreeningTests {
    /// Every arithmetic this processor can run.
    static let arithmetics: [ScreenArithmetic] = ScreenArithmetic.fastest == .bytes ? [.floats, .bytes] : [.floats]

    /// Followers of one driver, noise with a memory and with heavy tails, one far from 0 and one in whole numbers.
    private static func block(seed: UInt64, length: Int, count: Int) -> SeriesBlock {
        var planted = PlantedSeries(seed: seed, length: length)
        let driver = planted.noise(memory: 0.3)
        var rows: [NodeKey: [Double]] = [:]
        for index in 0..<count {
            let row: [Double] =
                switch index % 5 {
                case 0: planted.follower(of: driver, lag: index % 7, rho: 0.9)
                case 1: planted.noise(memory: 0.8)
                case 2: planted.heavyTailed()
                case 3: planted.follower(of: driver, lag: 2, rho: -0.95).map { 1e6 + $0 * 1e-2 }
                default: planted.noise().map { ($0 * 2).rounded() }
                }
            rows[PlantedSeries.node("v\(100 + index)", event: index % 3 == 0 ? "a" : "b", market: "m\(index % 4)")] =
                row
        }
        return PlantedSeries.block(rows)
    }

    @Test(
        "no screened r is farther from the true one than its bound",
        arguments: Self.arithmetics, [(64, 5, 90), (120, 16, 120), (33, 3, 36), (256, 16, 256), (41, 0, 41)])
    func staysWithinTheBound(arithmetic: ScreenArithmetic, size: (window: Int, lag: Int, length: Int)) {
        let block = Self.block(seed: UInt64(size.window), length: size.length, count: 37)
        let panel = SeriesPanel(
            block: block, shape: WindowShape(present: size.window, baseline: 0, lag: size.lag))
        let rows = PackedRows(Array(0..<9), of: panel, arithmetic: arithmetic)
        let columns = PackedRows(Array(9..<37), of: panel, arithmetic: arithmetic)
        let screening = Screening(panel: panel, arithmetic: arithmetic, size: 64 * 64)
        let curve = panel.memory.take(Float.self, 2 * size.lag + 1)
        for (left, right) in [(rows, columns), (columns, rows), (columns, columns)] {
            let isSquare = left.rows == right.rows
            let tile = screening.tile(left, right, isSquare: isSquare)
            for (i, row) in left.rows.enumerated() {
                for (j, column) in right.rows.enumerated() where !isSquare || j > i {
                    tile.lags(i, j, isFlipped: row > column, into: curve)
                    let bound = Double(tile.bound(i, j)) + 1e-9
                    #expect(bound < 0.2)
                    var largest = 0.0
                    for lag in -size.lag...size.lag {
                        let exact = panel.present.product(min(row, column), max(row, column), lag: lag).score
                        #expect(abs(Double(curve[lag + size.lag]) - exact) <= bound)
                        largest = max(largest, abs(exact))
                    }
                    #expect(abs(Double(tile.largest(i, j)) - largest) <= bound)
                }
            }
        }
    }

    @Test(
        "how screening multiplies changes no digit of a graph", arguments: [(60, 0, 5), (60, 200, 5), (120, 0, 16)])
    func givesOneAnswer(shape: (present: Int, baseline: Int, lag: Int)) {
        let block = Self.block(seed: 5, length: shape.present + max(shape.baseline, shape.lag), count: 70)
        let input = EvaluationInput(
            domain: "d", block: block,
            shape: WindowShape(present: shape.present, baseline: shape.baseline, lag: shape.lag), events: ["a", "b"],
            thresholds: LayerThresholds(direct: 0.3, crossMarket: 0.35, crossEvent: 0.4))
        let answers = Self.arithmetics.map { Evaluation.evaluate(input, arithmetic: $0) }
        for answer in answers {
            #expect(answer.map(\.layers) == answers[0].map(\.layers))
            #expect(answer.map(\.accepted) == answers[0].map(\.accepted))
            #expect(answer.flatMap(\.accepted).count > 20)
        }
    }

    @Test("a curve measured at once has the bits of one measured lag by lag")
    func measuresCurves() {
        let block = Self.block(seed: 9, length: 150, count: 10)
        let panel = SeriesPanel(block: block, shape: WindowShape(present: 140, baseline: 0, lag: 16))
        let scores = panel.memory.take(Double.self, 33)
        for row in 0..<10 { panel.preparePresent(row) }
        for row in 1..<10 {
            panel.present.fill(scores, 0, row)
            for lag in -16...16 { #expect(scores[lag + 16] == panel.present.product(0, row, lag: lag).score) }
        }
    }

    @Test("pieces of work memory are aligned, do not overlap, and may exceed what is kept", arguments: [100, 3 << 20])
    func takesPieces(count: Int) {
        for _ in 0..<3 {
            let memory = WorkMemory()
            let pieces = (0..<5).map { memory.take(filledWith: $0, count) }
            for (value, piece) in pieces.enumerated() {
                #expect(UInt(bitPattern: piece) % 64 == 0)
                #expect((0..<count).allSatisfy { piece[$0] == value })
            }
        }
    }
}
