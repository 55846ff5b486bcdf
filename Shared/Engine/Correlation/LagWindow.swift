import CKernels

/// The series of a block made ready for products: clipped, centred, zero where missing, with the sums that the
/// windows of all lags need.
///
/// One stretch of `length` buckets of each of n series. At lag l >= 0 the leader is read over
/// `length - n(l) - l ..< length - l` and the follower over `length - n(l) ..< length`, where n(l) is the window or, in a
/// shorter stretch, what is left.
final class LagWindow {
    let count: Int
    let length: Int
    /// Buckets of the window at lag 0.
    let window: Int
    /// n x length, row by row.
    let values: UnsafeMutablePointer<Double>
    /// Lags 0 ... `lags` are asked for.
    let lags: Int
    /// By row, of complete series: sums and centred energies of the leader's window at each lag, then the follower's.
    let moments: UnsafeMutablePointer<Double>
    /// By row, the sum of squares of the whole stretch.
    private let totals: UnsafeMutablePointer<Double>
    let states: UnsafeMutablePointer<SeriesState>
    /// n x length, 1 where a value is known; empty while no series misses any.
    private var known: [Double] = []
    private let scratch: UnsafeMutablePointer<Double>
    /// Holds what the pointers point to.
    private let memory: WorkMemory

    struct SeriesState {
        var isConstant = false
        /// Fewer than 10 values that say anything.
        var isShort = false
        var isMissing = false
        /// Known values in the window.
        var size = 0
        /// Whether the row holds values yet.
        var isPrepared = false

        /// Known in every bucket, and something to correlate.
        var isPlain: Bool { !self.isConstant && !self.isShort && !self.isMissing }
    }

    /// Room for all series; rows are filled by ``prepare(_:from:)``.
    init(count: Int, length: Int, window: Int, lags: Int, memory: WorkMemory) {
        self.count = count
        self.length = length
        self.window = min(window, length)
        self.lags = lags
        self.memory = memory
        // Rows are written before they are read.
        self.values = memory.take(Double.self, count * length)
        self.moments = memory.take(Double.self, 4 * (lags + 1) * count)
        self.totals = memory.take(Double.self, count)
        self.scratch = memory.take(Double.self, 2 * length)
        self.states = memory.take(filledWith: SeriesState(), count)
    }

    /// n(l): buckets both series can have at a lag.
    @inline(__always)
    func overlap(atLag lag: Int) -> Int { min(self.window, max(0, self.length - abs(lag))) }

    /// Clips, centres and sums one series.
    ///
    /// - Parameter source: its `length` values; not finite where nothing is known.
    func prepare(_ row: Int, from source: UnsafePointer<Double>) {
        var state = SeriesState()
        state.isPrepared = true
        state.isMissing = kernel_is_finite(source, self.length) == 0
        defer { self.states[row] = state }
        var present = source + (self.length - self.window)
        state.size = self.window
        if state.isMissing {
            self.markMissing(row, source)
            var size = 0
            for t in 0..<self.window where present[t].isFinite {
                self.scratch[size] = present[t]
                size += 1
            }
            state.size = size
            present = UnsafePointer(self.scratch)
        }
        let values = self.values + row * self.length
        guard state.size > 0 else {
            state.isShort = true
            values.update(repeating: 0, count: self.length)
            self.totals[row] = 0
            return
        }
        let bounds = ClipBounds(present, count: state.size, scratch: self.scratch + self.length)
        var energy = 0.0
        if state.isMissing {
            energy = self.centre(source, bounds, present, state.size, row)
        } else {
            self.totals[row] = withUnsafeBytes(of: bounds.range) { range in
                range.withMemoryRebound(to: Double.self) {
                    kernel_centre(
                        source, self.length, self.window, self.lags, $0.baseAddress, values,
                        self.moments + 4 * (self.lags + 1) * row, &energy)
                }
            }
        }
        // Deviations of a few units in the last place of the largest value are rounding, not change.
        let grain = 4 * Double.ulpOfOne * bounds.range.extreme
        state.isConstant = energy <= Double(state.size) * grain * grain
        state.isShort = min(bounds.informative, state.size) < 10
    }

    /// What the kernel does, for a series with missing values: they stay 0. Returns the sum of squares of the window.
    private func centre(
        _ source: UnsafePointer<Double>, _ bounds: ClipBounds, _ present: UnsafePointer<Double>, _ size: Int, _ row: Int
    ) -> Double {
        var total = 0.0
        for t in 0..<size { total += bounds.clip(present[t]) }
        let rough = total / Double(size)
        var rest = 0.0
        for t in 0..<size { rest += bounds.clip(present[t]) - rough }
        let mean = rough + rest / Double(size)
        let values = self.values + row * self.length
        var (square, inside) = (0.0, 0.0)
        for t in 0..<self.length {
            let value = source[t].isFinite ? bounds.clip(source[t]) - mean : 0
            values[t] = value
            square += value * value
            if t >= self.length - self.window { inside += value * value }
        }
        self.totals[row] = square
        return inside
    }

    private func markMissing(_ row: Int, _ source: UnsafePointer<Double>) {
        if self.known.isEmpty { self.known = [Double](repeating: 1, count: self.count * self.length) }
        for t in 0..<self.length where !source[t].isFinite { self.known[row * self.length + t] = 0 }
    }

    /// Sum and centred energy of a complete series in its window at a lag of 0 or more.
    @inline(__always)
    func moments(_ row: Int, lag: Int, isFollower: Bool) -> (sum: Double, energy: Double) {
        let base = self.moments + (4 * row + (isFollower ? 2 : 0)) * (self.lags + 1) + lag
        return (base[0], base[self.lags + 1])
    }
}

/// r of two series at one lag, with what it was made of.
struct LagProduct {
    /// Rounded to 9 digits; 0 when undefined.
    var score = 0.0
    /// Buckets both have.
    var overlap = 0
    /// Centred energies of the leader and the follower in the window.
    var leaderEnergy = 0.0
    var followerEnergy = 0.0

    var isDefined: Bool { self.leaderEnergy > 0 && self.followerEnergy > 0 }
}

extension LagWindow {
    /// r at all lags, -L ... L, as ``LagCurve`` takes it; nothing when a series misses values.
    func fill(_ scores: UnsafeMutablePointer<Double>, _ first: Int, _ second: Int) {
        guard !self.states[first].isMissing, !self.states[second].isMissing else { return }
        let size = 4 * (self.lags + 1)
        kernel_curve(
            self.values + first * self.length, self.values + second * self.length, self.length, self.window, self.lags,
            self.moments + first * size, self.moments + second * size, scores)
    }

    /// r at a signed lag: positive lags let `first` lead.
    func product(_ first: Int, _ second: Int, lag: Int) -> LagProduct {
        lag >= 0
            ? self.product(leader: first, follower: second, lag: lag)
            : self.product(leader: second, follower: first, lag: -lag)
    }

    private func product(leader: Int, follower: Int, lag: Int) -> LagProduct {
        let size = self.overlap(atLag: lag)
        guard size > 1 else { return LagProduct() }
        let leaderStart = self.length - size - lag
        let followerStart = self.length - size
        if self.states[leader].isMissing || self.states[follower].isMissing {
            return self.maskedProduct(
                leader * self.length + leaderStart, follower * self.length + followerStart, size)
        }
        let (leaderSum, leaderEnergy) = self.moments(leader, lag: lag, isFollower: false)
        let (followerSum, followerEnergy) = self.moments(follower, lag: lag, isFollower: true)
        var product = LagProduct(
            score: 0, overlap: size, leaderEnergy: leaderEnergy, followerEnergy: followerEnergy)
        guard product.isDefined else { return product }
        let cross = kernel_product(
            self.values + leader * self.length + leaderStart, self.values + follower * self.length + followerStart,
            size)
        let covariance = cross - leaderSum * followerSum / Double(size)
        product.score = min(1, max(-1, covariance / (leaderEnergy * followerEnergy).squareRoot())).roundedToNine
        return product
    }

    /// Over the buckets both series have; `leader` and `follower` are positions in `values`.
    private func maskedProduct(_ leader: Int, _ follower: Int, _ size: Int) -> LagProduct {
        var n = 0.0, x = 0.0, y = 0.0
        for t in 0..<size where self.known[leader + t] * self.known[follower + t] > 0 {
            n += 1
            x += self.values[leader + t]
            y += self.values[follower + t]
        }
        guard n > 1 else { return LagProduct(overlap: Int(n)) }
        let (xMean, yMean) = (x / n, y / n)
        var xx = 0.0, yy = 0.0, xy = 0.0, scale = 0.0
        for t in 0..<size where self.known[leader + t] * self.known[follower + t] > 0 {
            let (dx, dy) = (self.values[leader + t] - xMean, self.values[follower + t] - yMean)
            xx += dx * dx
            yy += dy * dy
            xy += dx * dy
        }
        scale = (xx * yy).squareRoot()
        // A series that stands still where the other one is known has no correlation with it.
        let xFloor = 1e-11 * self.totals[leader / self.length]
        let yFloor = 1e-11 * self.totals[follower / self.length]
        guard xx > xFloor, yy > yFloor else { return LagProduct(overlap: Int(n)) }
        return LagProduct(
            score: min(1, max(-1, xy / scale)).roundedToNine, overlap: Int(n), leaderEnergy: xx, followerEnergy: yy)
    }
}
