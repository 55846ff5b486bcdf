import Model

/// How one node's series is whitened, clipped and freed of changes of its loudness: learnt on its baseline.
package struct Whitening: Sendable, Hashable, Codable {
    /// AR(1) coefficient about the mean.
    package var phi: Double
    /// Median of the whitened baseline, taken off.
    package var centre: Double
    /// Robust standard deviation of what is left, and the bound of the clipped series: clip times that.
    package var scale: Double
    package var bound: Double
    /// Mean size over `recent` buckets, in robust standard deviations, that 95 % of the baseline's stretches stay below, and the
    /// baseline's own mean.
    package var loud: Double
    package var usual: Double
    /// Buckets loudness is the mean over.
    package var recent: Int
    /// At which buckets it is learnt again.
    package var turn: Int64

    /// - Parameter baseline: values of the baseline, oldest first; unknown values are skipped.
    /// - Returns: nil when fewer than half of the values are known or nothing changes.
    package init?(baseline: ArraySlice<Double>, clip: Double, recent: Int, turn: Int64) {
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
        self.scale = spread
        self.bound = clip * spread
        self.recent = recent
        self.turn = turn
        let sizes = whitened.map { Self.size(($0 - median) / spread) }
        self.usual = max(1e-9, sizes.reduce(0, +) / Double(max(1, sizes.count)))
        self.loud = .infinity
        var stretch = 0.0
        var means: [Double] = []
        for index in sizes.indices {
            stretch += sizes[index] - (index >= recent ? sizes[index - recent] : 0)
            if index >= recent - 1 { means.append(stretch / Double(recent)) }
        }
        if !means.isEmpty { self.loud = RobustScale.quantile(ofSorted: means.sorted(), 0.95) }
    }

    /// Sizes beyond this say no more about how loud a stretch is.
    private static func size(_ value: Double) -> Double { min(4, abs(value)) }

    /// Fills `output` with the whitened, clipped series; NaN at the first place and where a value is unknown.
    package func clip(_ row: ArraySlice<Double>, into output: UnsafeMutableBufferPointer<Double>) {
        row.withUnsafeBufferPointer { row in
            output[0] = .nan
            for index in 1..<row.count {
                let value = row[index] - self.phi * row[index - 1] - self.centre
                // Comparisons leave NaN as it is, min and max need not.
                output[index] = value < -self.bound ? -self.bound : value > self.bound ? self.bound : value
            }
        }
    }

    /// Fills some places of `output` with the whitened series in robust standard deviations, divided by how much louder than usual
    /// the last buckets were, where that is more than chance explains; NaN where a value is unknown.
    ///
    /// - Parameter places: from the second place of the row on.
    package func level(
        _ row: ArraySlice<Double>, _ places: Range<Int>, into output: UnsafeMutableBufferPointer<Double>
    ) {
        row.withUnsafeBufferPointer { row in
            let first = max(1, places.lowerBound - self.recent + 1)
            var sum = 0.0
            for index in first..<max(first, places.lowerBound) { sum += self.size(row, index) }
            for index in places {
                sum += self.size(row, index)
                if index - self.recent >= first { sum -= self.size(row, index - self.recent) }
                let mean = sum / Double(self.recent)
                let value = (row[index] - self.phi * row[index - 1] - self.centre) / self.scale
                output[index] = mean > self.loud ? value * self.usual / mean : value
            }
        }
    }

    /// The size at a place in robust standard deviations; the usual one where it is unknown.
    @inline(__always)
    private func size(_ row: UnsafeBufferPointer<Double>, _ index: Int) -> Double {
        let value = (row[index] - self.phi * row[index - 1] - self.centre) / self.scale
        return value == value ? Self.size(value) : self.usual
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
