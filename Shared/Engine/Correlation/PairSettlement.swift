import Model

/// What became of one pair, in Double, on rounded values.
struct SettledPair {
    enum Status { case tested, short, constant }

    /// Rows of the block, first < second in the order of keys.
    var first: Int
    var second: Int
    var layer: Layer
    var status: Status
    /// Number of the panel the rows are of.
    var panel = 0
    var peak = Peak()
    /// A second, distinct peak of the opposite direction that reaches the threshold, too.
    var opposite: Peak?
    /// Lags the choice was made among on the same data; 1 when it was made on the baseline.
    var tests = 1

    struct Peak {
        /// Signed: positive lets `first` lead.
        var lag = 0
        /// The lag between buckets, same sign; `lag` when no parabola fits.
        var refinedLag = 0.0
        var score = 0.0
        var overlap = 0
        var effectiveSize = 0.0
        /// Standard deviation of the follower over that of the leader.
        var slope = 0.0
    }
}

/// Settles pairs of one panel: chooses the lag, measures r at it, and says how much data that is.
struct PairSettlement {
    let panel: SeriesPanel
    let thresholds: LayerThresholds
    /// r by signed lag of the pair in hand.
    private let scores: UnsafeMutablePointer<Double>

    init(panel: SeriesPanel, thresholds: LayerThresholds) {
        self.panel = panel
        self.thresholds = thresholds
        self.scores = panel.memory.take(Double.self, 2 * panel.shape.lag + 1)
    }

    /// - Parameter screened: float r by signed lag (index lag + L) with its error bound, to skip lags that cannot be the
    ///   largest; nil: look at all.
    func settle(_ first: Int, _ second: Int, layer: Layer, screened: ScreenedLags? = nil) -> SettledPair {
        self.panel.preparePresent(first)
        self.panel.preparePresent(second)
        var pair = SettledPair(first: first, second: second, layer: layer, status: .tested)
        let states = (self.panel.present.states[first], self.panel.present.states[second])
        guard !states.0.isConstant, !states.1.isConstant else {
            pair.status = .constant
            return pair
        }
        guard let share = self.share(first, second, states), !states.0.isShort, !states.1.isShort else {
            pair.status = .short
            return pair
        }
        let limit = self.panel.shape.lag
        var curve: LagCurve
        if self.panel.hasBaseline(first, second), let baseline = self.panel.baseline {
            curve = LagCurve(window: baseline, first, second, limit: limit, scores: self.scores)
            curve.measureAll()
        } else {
            pair.tests = 2 * limit + 1
            curve = LagCurve(window: self.panel.present, first, second, limit: limit, scores: self.scores)
            curve.restrict(to: screened)
        }
        guard let lag = curve.largest(), let peak = self.peak(first, second, lag, curve, share) else {
            pair.status = .short
            return pair
        }
        pair.peak = peak
        if abs(peak.score) >= self.thresholds[layer], lag != 0,
            screened?.mayReach(self.thresholds[layer], oppositeTo: lag, limit: limit) ?? true
        {
            pair.opposite = self.opposite(first, second, to: peak, curve, share, layer)
        }
        return pair
    }

    /// The effective share of a pair's buckets; nil when some lag would have an effective size under 10.
    private func share(_ first: Int, _ second: Int, _ states: (LagWindow.SeriesState, LagWindow.SeriesState)) -> Double?
    {
        let present = self.panel.present
        var overlap = present.overlap(atLag: 0)
        var least = self.panel.leastOverlap
        if states.0.isMissing || states.1.isMissing {
            overlap = present.product(first, second, lag: 0).overlap
            for lag in -self.panel.shape.lag...self.panel.shape.lag {
                least = min(least, present.product(first, second, lag: lag).overlap)
            }
        }
        guard least >= 10 else { return nil }
        let share = self.panel.effectiveShare(first, second, overlap: overlap)
        return (Double(least) * share).roundedToNine >= 10 ? share : nil
    }

    private func peak(
        _ first: Int, _ second: Int, _ lag: Int, _ curve: LagCurve, _ share: Double
    ) -> SettledPair.Peak? {
        let product = self.panel.present.product(first, second, lag: lag)
        guard product.isDefined else { return nil }
        return SettledPair.Peak(
            lag: lag, refinedLag: curve.refined(lag), score: product.score, overlap: product.overlap,
            effectiveSize: min(Double(product.overlap), Double(product.overlap) * share).roundedToNine,
            slope: (product.followerEnergy / product.leaderEnergy).squareRoot())
    }

    /// A peak on the other side of lag 0, with a valley between the two that is deeper than chance explains.
    private func opposite(
        _ first: Int, _ second: Int, to main: SettledPair.Peak, _ curve: LagCurve, _ share: Double, _ layer: Layer
    ) -> SettledPair.Peak? {
        guard let lag = curve.localMaximum(oppositeTo: main.lag),
            let peak = self.peak(first, second, lag, curve, share), abs(peak.score) >= self.thresholds[layer]
        else { return nil }
        let lower = min(abs(curve.score(lag)), abs(curve.score(main.lag)))
        let valley = curve.least(between: lag, and: main.lag, sign: curve.score(main.lag))
        let noise = 2 / max(1, peak.effectiveSize - 3).squareRoot()
        guard FisherStatistics.z(lower) - FisherStatistics.z(valley) > noise else { return nil }
        return peak
    }
}

/// Float r of one pair at all lags, from screening.
struct ScreenedLags {
    /// Index lag + L.
    var scores: UnsafeBufferPointer<Float>
    /// Each score is within this of the true one.
    var bound: Float

    static func top(_ scores: Slice<UnsafeBufferPointer<Float>>) -> Float { scores.reduce(0) { max($0, abs($1)) } }

    /// False when no lag of the other direction can have |r| of `threshold` in the present.
    func mayReach(_ threshold: Double, oppositeTo lag: Int, limit: Int) -> Bool {
        let side = lag > 0 ? self.scores[..<limit] : self.scores[(limit + 1)...]
        return Double(Self.top(side) + self.bound) + 1e-6 >= threshold
    }
}

/// r by signed lag on the stretch the lag is chosen on; computed on demand.
struct LagCurve {
    private let window: LagWindow
    private let first: Int
    private let second: Int
    private let limit: Int
    /// NaN where not yet measured.
    private let scores: UnsafeMutablePointer<Double>
    private var screened: ScreenedLags?
    /// Lags whose float |r| is under this cannot be the largest.
    private var floor: Float = 0

    /// - Parameter scores: room for 2 `limit` + 1, in use by one curve at a time.
    init(window: LagWindow, _ first: Int, _ second: Int, limit: Int, scores: UnsafeMutablePointer<Double>) {
        self.window = window
        self.first = first
        self.second = second
        self.limit = limit
        self.scores = scores
        self.scores.update(repeating: .nan, count: 2 * limit + 1)
    }

    /// All lags at once, where that is cheaper than one by one.
    func measureAll() {
        self.window.fill(self.scores, self.first, self.second)
    }

    func score(_ lag: Int) -> Double {
        let known = self.scores[lag + self.limit]
        guard known.isNaN else { return known }
        let product = self.window.product(self.first, self.second, lag: lag)
        // Few common buckets at the edge of a young window must not win by chance.
        let score = product.isDefined && product.overlap >= 10 ? product.score : 0
        self.scores[lag + self.limit] = score
        return score
    }

    /// Lags whose float r cannot be the largest need no Double.
    mutating func restrict(to screened: ScreenedLags?) {
        guard let screened else { return }
        self.screened = screened
        self.floor = ScreenedLags.top(screened.scores[...]) - 2 * screened.bound - 1e-6
    }

    /// The lag of largest |r|; of equals the one nearest to 0, then the positive one. Nil when r is 0 everywhere.
    func largest() -> Int? {
        var best: (lag: Int, size: Double)?
        for lag in -self.limit...self.limit {
            if let screened, abs(screened.scores[lag + self.limit]) < self.floor { continue }
            let size = abs(self.score(lag))
            guard size > 0 else { continue }
            if let known = best {
                if size < known.size { continue }
                if size == known.size, (abs(lag), -lag) > (abs(known.lag), -known.lag) { continue }
            }
            best = (lag, size)
        }
        return best?.lag
    }

    /// The top of the parabola through r at the lag and its two neighbours, at most half a bucket away; 0 stays 0.
    func refined(_ lag: Int) -> Double {
        guard lag != 0, abs(lag) < self.limit else { return Double(lag) }
        let sign: Double = self.score(lag) < 0 ? -1 : 1
        let (before, top, after) = (sign * self.score(lag - 1), sign * self.score(lag), sign * self.score(lag + 1))
        let bend = before - 2 * top + after
        guard bend < 0 else { return Double(lag) }
        return Double(lag) + min(0.5, max(-0.5, 0.5 * (before - after) / bend))
    }

    /// The highest |r| on the other side of lag 0 that is a local maximum.
    func localMaximum(oppositeTo lag: Int) -> Int? {
        let side = lag > 0 ? Array((-self.limit)...(-1)) : Array(1...max(1, self.limit))
        var best: (lag: Int, size: Double)?
        for candidate in side where abs(candidate) <= self.limit {
            let size = abs(self.score(candidate))
            let before = candidate > -self.limit ? abs(self.score(candidate - 1)) : 0
            let after = candidate < self.limit ? abs(self.score(candidate + 1)) : 0
            guard size > 0, size >= before, size >= after, size > (best?.size ?? 0) else { continue }
            best = (candidate, size)
        }
        return best?.lag
    }

    /// The least r (towards `sign`, never under 0) between two lags.
    func least(between first: Int, and second: Int, sign: Double) -> Double {
        var least = 1.0
        for lag in min(first, second)...max(first, second) {
            least = min(least, max(0, sign < 0 ? -self.score(lag) : self.score(lag)))
        }
        return least
    }
}
