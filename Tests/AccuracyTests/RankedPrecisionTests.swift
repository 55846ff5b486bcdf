import Testing

@testable import Accuracy

@Suite("Precision of rankings")
struct RankedPrecisionTests {
    @Test("average precision takes ties together")
    func averagePrecision() {
        // Thresholds 3, 2, 1: precision 1, 2/4, 2/5 at recall 1/2, 1, 1.
        let area = AveragePrecision.of(scores: [3, 2, 2, 2, 1], labels: [true, true, false, false, false])
        #expect(abs(area - (0.5 * 1 + 0.5 * 0.5)) < 1e-12)
    }

    @Test("without slopes the volume is the area with recall times ranges met")
    func noSlope() {
        // Levels 5, 4, 3, 2, 1, 0. Labelled 2...3; the range is met at level 5 already.
        // Recall 1/2, 1/2, 1, then 1; precision 1, 1/2, 2/3.
        let area = VolumeUnderSurface.precisionRecall(
            scores: [0, 4, 5, 3, 1, 2], labels: [false, false, true, true, false, false], window: 0, thresholds: 6)
        #expect(abs(area - (0.5 * 1 + 0.5 * 2 / 3)) < 1e-12)
    }

    @Test("a hit beside a range counts by its slope, and half of it grows what is wanted")
    func slope() {
        // Window 2, one level above all others: index 1, beside the range 2...3; slope sqrt(1 - 1/2).
        // Windows 0 and 1 reach 0 buckets: recall 0 at the first level, then as computed by hand below.
        let scores = [0.0, 5, 4, 4, 0, 0]
        let labels = [false, false, true, true, false, false]
        // Levels by thresholds 3 at places 0, 2, 5: 5, 4, 0. Window 0 and 1: recalls 0, 1, 1; precisions 0, 2/3, 1/3.
        let plain = 2.0 / 3
        // Window 2: hit = s at the first level, wanted = (2 + 2 + s) / 2, precision s.
        // Second: hit = 2 + s, wanted = (4 + s) / 2, recall min(1, ...) = 1, precision (2 + s) / 3. Third: recall stays 1.
        let s = 0.5.squareRoot()
        let first = s / ((4 + s) / 2)
        let sloped = first * s + (1 - first) * (2 + s) / 3
        let area = VolumeUnderSurface.precisionRecall(scores: scores, labels: labels, window: 2, thresholds: 3)
        #expect(abs(area - (plain + plain + sloped) / 3) < 1e-12)
    }

    @Test("equals the reference implementation on a periodic ranking")
    func reference() {
        // PyPI vus 0.0.6: RangeAUC_volume_opt(y, s, 6, thre=5)[-1] with y = 1 at 10..13 of 40, s = index % 7.
        let scores = (0..<40).map { Double($0 % 7) }
        let labels = (0..<40).map { (10...13).contains($0) }
        let area = VolumeUnderSurface.precisionRecall(scores: scores, labels: labels, window: 6, thresholds: 5)
        #expect(abs(area - 0.190_909_090_909_090_92) < 1e-12)
    }

    @Test("ranges that touch after widening count as one, and a range at the end is seen")
    func merges() {
        #expect(VolumeUnderSurface.ranges([true, false, true, true]) == [0...0, 2...3])
        // PyPI vus 0.0.6 for y = 1 at 2, 6, 19 of 20, s = (7 i) mod 20, window 4, thre 20.
        let scores = (0..<20).map { Double(7 * $0 % 20) }
        let labels = (0..<20).map { [2, 6, 19].contains($0) }
        let area = VolumeUnderSurface.precisionRecall(scores: scores, labels: labels, window: 4, thresholds: 20)
        #expect(abs(area - 0.318_555_923_123_056_8) < 1e-12)
    }
}
