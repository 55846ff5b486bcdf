import Engine
import Foundation
import Model

/// The definitions of an edge written down as plainly as possible: sorted medians, loops over every lag, no screening.
/// Complete series only.
struct SlowReference {
    struct Found {
        var first: NodeKey
        var second: NodeKey
        /// Positive: `first` moves first.
        var lag: Int
        var score: Double
        var effectiveSize: Double
        var pValue: Double
    }

    let block: SeriesBlock
    let shape: WindowShape

    private func median(_ values: [Double]) -> Double {
        let sorted = values.sorted()
        let half = sorted.count / 2
        return sorted.count % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2
    }

    private func clipped(_ values: [Double], by window: [Double]) -> [Double] {
        let centre = self.median(window)
        var scale = 1.4826 * self.median(window.map { abs($0 - centre) })
        if scale == 0 { scale = 1.2533 * window.map { abs($0 - centre) }.reduce(0, +) / Double(window.count) }
        return values.map { min(max($0, centre - 3 * scale), centre + 3 * scale) }
    }

    /// In two steps, so that a large offset costs no digits.
    private func mean(_ x: [Double]) -> Double {
        let rough = x.reduce(0, +) / Double(x.count)
        return rough + x.reduce(0) { $0 + ($1 - rough) } / Double(x.count)
    }

    func pearson(_ x: [Double], _ y: [Double]) -> Double {
        let (mx, my) = (self.mean(x), self.mean(y))
        var (xx, yy, xy) = (0.0, 0.0, 0.0)
        for (a, b) in zip(x, y) {
            xx += (a - mx) * (a - mx)
            yy += (b - my) * (b - my)
            xy += (a - mx) * (b - my)
        }
        return xx > 0 && yy > 0 ? xy / (xx * yy).squareRoot() : 0
    }

    /// r at a lag over the last `window` values, reaching back before them where there is something.
    private func lagged(_ x: [Double], _ y: [Double], _ lag: Int, window: Int) -> Double {
        let (leader, follower) = lag >= 0 ? (x, y) : (y, x)
        let size = min(window, x.count - abs(lag))
        guard size >= 10 else { return 0 }
        let end = x.count
        return self.pearson(
            Array(leader[end - size - abs(lag)..<end - abs(lag)]), Array(follower[end - size..<end]))
    }

    private func autocorrelation(_ x: [Double], _ lag: Int) -> Double {
        let mean = self.mean(x)
        let energy = x.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        return (0..<x.count - lag).reduce(0.0) { $0 + (x[$1] - mean) * (x[$1 + lag] - mean) } / energy
    }

    /// One pair of rows; nil when the effective size is under 10.
    func settle(_ i: Int, _ j: Int) -> Found? {
        let w = min(self.shape.present, self.block.length)
        let stretch = min(self.block.length, self.shape.present + self.shape.lag)
        func present(_ row: Int) -> [Double] {
            let values = Array(self.block.row(row))
            return self.clipped(Array(values.suffix(stretch)), by: Array(values.suffix(w)))
        }
        let (x, y) = (present(i), present(j))
        let (px, py) = (Array(x.suffix(w)), Array(y.suffix(w)))
        var sum = 0.0
        for k in 1..<max(1, w / 4 + 1) {
            sum += (1 - Double(k) / Double(w)) * self.autocorrelation(px, k) * self.autocorrelation(py, k)
        }
        let share = 1 + 2 * sum > 0 ? min(1, 1 / (1 + 2 * sum)) : 1
        guard Double(min(w, stretch - self.shape.lag)) * share >= 10 else { return nil }
        let offered = min(self.shape.baseline, self.block.length - self.shape.present)
        let isFull = offered >= 3 * self.shape.present
        func past(_ row: Int) -> [Double] {
            let values = Array(self.block.row(row).dropLast(self.shape.present).suffix(offered))
            return self.clipped(values, by: values)
        }
        let curves = isFull ? (past(i), past(j)) : (x, y)
        var best = (lag: 0, size: -1.0)
        for distance in 0...self.shape.lag {
            for lag in Set([distance, -distance]).sorted(by: >) {
                let r = self.lagged(curves.0, curves.1, lag, window: isFull ? offered : w)
                let size = (abs(r) * 1e9).rounded() / 1e9
                if size > best.size { best = (lag, size) }
            }
        }
        let score = self.lagged(x, y, best.lag, window: w)
        let size = Double(min(w, stretch - abs(best.lag))) * share
        var p = erfc(
            abs(atanh(max(-0.999_999_999, min(0.999_999_999, score)))) * (size - 3).squareRoot() / 2.0.squareRoot())
        if !isFull { p = 1 - Foundation.pow(1 - p, Double(2 * self.shape.lag + 1)) }
        return Found(
            first: self.block.nodes[i], second: self.block.nodes[j], lag: best.lag, score: score, effectiveSize: size,
            pValue: p)
    }
}
