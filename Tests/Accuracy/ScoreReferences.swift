import Engine
import Foundation

/// The scores of rankings on random labels and scores, as JSON lines for scripts/references.
enum ScoreReferences {
    private struct Line: Codable {
        var kind = "scores"
        var scores: [Double]
        var labels: [Bool]
        var window: Int
        var thresholds: Int
        var averagePrecision: Double
        var volume: Double
    }

    static func write(to path: String, count: Int) throws {
        let encoder = JSONEncoder()
        var random = RandomStream(seed: 81)
        var lines = Data()
        for _ in 0..<count {
            lines += try encoder.encode(Self.line(&random))
            lines.append(UInt8(ascii: "\n"))
        }
        try lines.write(to: URL(filePath: path))
    }

    /// Labelled ranges that touch, lie at an end or are one point; scores that know them, do not, are few or all the same.
    private static func line(_ random: inout RandomStream) -> Line {
        let length = 20 + random.below(180)
        var labels = [Bool](repeating: false, count: length)
        for _ in 0...random.below(4) {
            let start = random.below(5) == 0 ? 0 : random.below(length)
            for place in start..<min(length, start + 1 + random.below(20)) { labels[place] = true }
        }
        if random.below(6) == 0 { labels[length - 1] = true }
        let (knowledge, steps) = (2 * random.uniform(), [0.0, 0, 1, 3, 10][random.below(5)])
        let isConstant = random.below(20) == 0
        let scores = labels.map { isLabelled in
            let score = isConstant ? 1 : random.uniform() + (isLabelled ? knowledge * random.uniform() : 0)
            return steps > 0 ? (score * steps).rounded() / steps : score
        }
        let (window, thresholds) = ([0, 1, 2, 7, 12, 20][random.below(6)], [2, 5, 30, 250][random.below(4)])
        return Line(
            scores: scores, labels: labels, window: window, thresholds: thresholds,
            averagePrecision: AveragePrecision.of(scores: scores, labels: labels),
            volume: VolumeUnderSurface.precisionRecall(
                scores: scores, labels: labels, window: window, thresholds: thresholds))
    }
}
