import Model

/// How one node's series is whitened and clipped: learnt on its baseline.
struct Whitening: Sendable, Hashable, Codable {
    /// AR(1) coefficient about the mean.
    var phi: Double
    /// Median of the whitened baseline, taken off.
    var centre: Double
    /// Bound of what is left: clip x 1.4826 MAD of the baseline.
    var bound: Double
    /// At which buckets it is learnt again.
    var turn: Int64

    /// - Parameter baseline: values of the baseline, oldest first; unknown values are skipped.
    /// - Returns: nil when fewer than half of the values are known or nothing changes.
    init?(baseline: ArraySlice<Double>, clip: Double, turn: Int64) {
        var sum = 0.0
        var known = 0
        for value in baseline where value.isFinite {
            sum += value
            known += 1
        }
        guard known * 2 >= baseline.count, known > 3 else { return nil }
        let mean = sum / Double(known)
        var product = 0.0
        var square = 0.0
        for index in baseline.indices.dropFirst() {
            let before = baseline[index - 1] - mean
            let now = baseline[index] - mean
            guard before.isFinite, now.isFinite else { continue }
            product += now * before
            square += before * before
        }
        guard square > 0 else { return nil }
        let phi = min(0.999, max(-0.999, product / square))
        var whitened: [Double] = []
        whitened.reserveCapacity(baseline.count)
        for index in baseline.indices.dropFirst() {
            let value = baseline[index] - phi * baseline[index - 1]
            if value.isFinite { whitened.append(value) }
        }
        guard let (median, scale) = RobustScale.medianAndScale(whitened) else { return nil }
        // A series that rests in most buckets has no MAD: its plain sd bounds it instead.
        let spread = scale > 0 ? scale : RobustScale.noise(ofChanges: whitened.map { $0 - median })
        guard spread > 0 else { return nil }
        self.phi = phi
        self.centre = median
        self.bound = clip * spread
        self.turn = turn
    }

    /// Fills `output` with the whitened, clipped series; NaN at the first place and where a value is unknown.
    func apply(to row: ArraySlice<Double>, output: UnsafeMutableBufferPointer<Double>) {
        row.withUnsafeBufferPointer { row in
            output[0] = .nan
            for index in 1..<row.count {
                let value = row[index] - self.phi * row[index - 1] - self.centre
                // Comparisons leave NaN as it is, min and max need not.
                output[index] = value < -self.bound ? -self.bound : value > self.bound ? self.bound : value
            }
        }
    }
}

/// Sums over the places where two stretches of series are both known.
struct PairMoments {
    var count = 0.0
    var x = 0.0
    var y = 0.0
    var xx = 0.0
    var yy = 0.0
    var xy = 0.0

    mutating func add(_ one: Double, _ other: Double) {
        guard one.isFinite, other.isFinite else { return }
        self.count += 1
        self.x += one
        self.y += other
        self.xx += one * one
        self.yy += other * other
        self.xy += one * other
    }

    mutating func remove(_ one: Double, _ other: Double) {
        guard one.isFinite, other.isFinite else { return }
        self.count -= 1
        self.x -= one
        self.y -= other
        self.xx -= one * one
        self.yy -= other * other
        self.xy -= one * other
    }

    /// Moments of `count` neighbouring places; y is `lag` places after x.
    init(
        x: UnsafePointer<Double>, y: UnsafePointer<Double>, from start: Int, count: Int, lag: Int
    ) {
        var known = 0.0
        var sums = SIMD4<Double>.zero
        var cross = 0.0
        for index in start..<start + count {
            let one = x[index - lag]
            let other = y[index]
            // NaN is the one value that differs from itself.
            guard one == one, other == other else { continue }
            known += 1
            sums += SIMD4(one, other, one * one, other * other)
            cross += one * other
        }
        self.count = known
        self.x = sums[0]
        self.y = sums[1]
        self.xx = sums[2]
        self.yy = sums[3]
        self.xy = cross
    }

    init() {}

    /// Pearson's r, within +-0.99999; nil for fewer than ten places or a series that does not change in them.
    var correlation: Double? {
        guard self.count >= 10 else { return nil }
        let n = self.count
        let varianceX = self.xx / n - self.x / n * (self.x / n)
        let varianceY = self.yy / n - self.y / n * (self.y / n)
        let scale = varianceX * varianceY
        guard varianceX > 1e-12 * self.xx / n, varianceY > 1e-12 * self.yy / n, scale > 0 else { return nil }
        let r = (self.xy / n - self.x / n * (self.y / n)) / scale.squareRoot()
        return min(0.99999, max(-0.99999, r))
    }
}
