import Foundation
import Testing

@testable import Engine

@Suite("Fisher statistics")
struct FisherStatisticsTests {
    @Test("critical values are the known ones")
    func criticalValues() {
        #expect(abs(FisherStatistics.criticalValue(tests: 1) - 1.959963984540054) < 1e-12)
        // Sidak over 11: the upper tail of (1 - 0.95^(1/11)) / 2.
        #expect(
            abs(
                0.5 * erfc(FisherStatistics.criticalValue(tests: 11) / 2.0.squareRoot()) - (1 - pow(0.95, 1.0 / 11)) / 2
            ) < 1e-14)
    }

    @Test("q equals the definition on every order of p")
    func qValues() {
        let p = [0.04, 0.001, 0.2, 0.01, 0.01, 0.9]
        let q = FisherStatistics.qValues(p, familySize: 20)
        for index in p.indices {
            // min over thresholds t >= p of t x m / #(p <= t)
            let expected = min(
                1, p.filter { $0 >= p[index] }.map { t in t * 20 / Double(p.filter { $0 <= t }.count) }.min() ?? 1)
            #expect(abs(q[index] - expected) < 1e-15)
        }
    }

    @Test(
        "confidence equals a fine sum over rho",
        arguments: [(0.6, 117.0, 0.55), (0.99, 12, 0.85), (-0.3, 20, 0.55), (0.1, 400, 0.65), (0.9, 10, 0.75)])
    func confidence(score: Double, size: Double, threshold: Double) {
        var above = 0.0
        var total = 0.0
        let z = atanh(abs(score))
        for step in 0..<400_000 {
            let rho = -1 + (Double(step) + 0.5) / 200_000
            let distance = z - atanh(rho)
            let likelihood = exp(-0.5 * distance * distance * (size - 3))
            total += likelihood
            if abs(rho) > threshold { above += likelihood }
        }
        let confidence = FisherStatistics.confidence(score: score, effectiveSize: size, threshold: threshold)
        #expect(abs(confidence - above / total) < 2e-5)
    }

    @Test("rounding keeps nine digits", arguments: [(1.23456789049, 1.23456789), (1.234567891e-20, 1.23456789e-20)])
    func rounding(value: Double, expected: Double) {
        #expect(abs(value.significantNine / expected - 1) < 1e-15)
        #expect((0.1234567894).roundedToNine == 0.123456789)
    }

    @Test("the median of any list is the one of the sorted list", arguments: 1...40 as ClosedRange<UInt64>)
    func medians(seed: UInt64) {
        var random = RandomStream(seed: seed)
        var values = (0..<(1 + random.below(60))).map { _ in Double(random.below(seed % 2 == 0 ? 5 : 1_000_000)) }
        let sorted = values.sorted()
        let half = sorted.count / 2
        let expected = sorted.count % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2
        #expect(values.withUnsafeMutableBufferPointer { ClipBounds.median($0) } == expected)
    }
}
