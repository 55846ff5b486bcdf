import Foundation
import Model
import PlantedData
import Testing

@testable import Engine

@Suite("Numbers of an edge")
struct EdgeNumberTests {
    @Test("the interval is Fisher's: 1.96 / sqrt(n - 3) around atanh(r)")
    func interval() {
        let critical = FisherStatistics.criticalValue(tests: 1)
        #expect(abs(critical - 1.959963984540054) < 1e-9)
        // By hand: atanh(0.5) = 0.5493061, 1.959964 / 5 = 0.3919928.
        let found = FisherStatistics.interval(score: 0.5, effectiveSize: 28, critical: critical)
        #expect(abs(found.low - 0.1560284) < 1e-6 && abs(found.high - 0.7358185) < 1e-6, "\(found)")
    }

    @Test("confidence counts both signs: without any correlation half of it lies on either side")
    func bothSigns() {
        // r = 0, n = 12: deviation 1/3. The flat prior is sech^2; summed finely over zeta.
        var (above, total) = (0.0, 0.0)
        for step in -400_000...400_000 {
            let zeta = Double(step) / 100_000
            let weight = exp(-0.5 * 9 * zeta * zeta) / (cosh(zeta) * cosh(zeta))
            total += weight
            if abs(tanh(zeta)) > 0.3 { above += weight }
        }
        let confidence = FisherStatistics.confidence(score: 0, effectiveSize: 12, threshold: 0.3)
        #expect(abs(confidence - above / total) < 1e-4, "\(confidence)")
    }

    @Test("a lag between two buckets is found between them", arguments: [8, 10, 12, 22, 28])
    func refinesLags(tenths: Int) throws {
        var planted = PlantedSeries(seed: 21, length: 2_600)
        // Ten steps a bucket, smooth over about one bucket, so that the curve over lags is smooth too.
        let rough = planted.noise()
        let kernel: [Double] = (-24...24).map { (step: Int) -> Double in exp(-Double(step * step) / 128) }
        let smooth: [Double] = (0..<2_500).map { (start: Int) -> Double in
            var sum = 0.0
            for (offset, weight) in kernel.enumerated() { sum += weight * rough[start + offset] }
            return sum
        }
        let leader: [Double] = (0..<240).map { smooth[50 + 10 * $0] }
        let follower: [Double] = (0..<240).map { smooth[50 + 10 * $0 - tenths] }
        let edges = PlantedTruthTests.evaluate([PlantedSeries.node("a"): leader, PlantedSeries.node("b"): follower])
            .accepted
        let edge = try #require(edges.first { $0.source.venue == "a" })
        #expect(edge.lagBuckets == Int((Double(tenths) / 10).rounded()))
        // The whole lag alone is off by 200 ms where there is something between; a parabola is no bell, so not exact.
        #expect(abs(edge.latencyMs - Double(tenths) * 100) < 80, "\(edge.latencyMs)")
    }
}
