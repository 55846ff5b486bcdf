import CKernels

/// The series of a block made ready for products: clipped, centred, zero where missing, with prefix sums.
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
    /// n x (length + 1) prefix sums of values and of their squares.
    let sums: UnsafeMutablePointer<Double>
    let squares: UnsafeMutablePointer<Double>
    let states: UnsafeMutablePointer<SeriesState>
    /// n x length, 1 where a value is known; empty while no series misses any.
    private var known: [Double] = []
    private let scratch: UnsafeMutablePointer<Double>

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
    init(count: Int, length: Int, window: Int) {
        self.count = count
        self.length = length
        self.window = min(window, length)
        // Rows are written before they are read: one piece of memory, not cleared.
        self.values = .allocate(capacity: count * length + 2 * count * (length + 1) + 2 * length)
        self.sums = self.values + count * length
        self.squares = self.sums + count * (length + 1)
        self.scratch = self.squares + count * (length + 1)
        self.states = .allocate(capacity: count)
        self.states.initialize(repeating: SeriesState(), count: count)
    }

    deinit {
        self.values.deallocate()
        self.states.deallocate()
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
        // A sum of products with 0 is 0 unless a value is not finite.
        var trace = 0.0
        for t in 0..<self.length { trace += source[t] * 0 }
        state.isMissing = trace != 0
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
        let (values, sums) = (self.values + row * self.length, self.sums + row * (self.length + 1))
        let squares = self.squares + row * (self.length + 1)
        guard state.size > 0 else {
            state.isShort = true
            values.update(repeating: 0, count: self.length)
            sums.update(repeating: 0, count: self.length + 1)
            squares.update(repeating: 0, count: self.length + 1)
            return
        }
        let bounds = ClipBounds(present, count: state.size, scratch: self.scratch + self.length)
        if state.isMissing {
            self.centre(source, bounds, present, state.size, values, sums, squares)
        } else {
            withUnsafeBytes(of: bounds.range) { range in
                range.withMemoryRebound(to: Double.self) {
                    kernel_centre(source, self.length, self.window, $0.baseAddress, values, sums, squares)
                }
            }
        }
        let energy = squares[self.length] - squares[self.length - self.window]
        // Deviations of a few units in the last place of the largest value are rounding, not change.
        let grain = 4 * Double.ulpOfOne * bounds.range.extreme
        state.isConstant = energy <= Double(state.size) * grain * grain
        state.isShort = min(bounds.informative, state.size) < 10
    }

    /// What the kernel does, for a series with missing values: they stay 0.
    private func centre(
        _ source: UnsafePointer<Double>, _ bounds: ClipBounds, _ present: UnsafePointer<Double>, _ size: Int,
        _ values: UnsafeMutablePointer<Double>, _ sums: UnsafeMutablePointer<Double>,
        _ squares: UnsafeMutablePointer<Double>
    ) {
        var total = 0.0
        for t in 0..<size { total += bounds.clip(present[t]) }
        let rough = total / Double(size)
        var rest = 0.0
        for t in 0..<size { rest += bounds.clip(present[t]) - rough }
        let mean = rough + rest / Double(size)
        var (sum, square) = (0.0, 0.0)
        (sums[0], squares[0]) = (0, 0)
        for t in 0..<self.length {
            let value = source[t].isFinite ? bounds.clip(source[t]) - mean : 0
            values[t] = value
            sum += value
            square += value * value
            (sums[t + 1], squares[t + 1]) = (sum, square)
        }
    }

    private func markMissing(_ row: Int, _ source: UnsafePointer<Double>) {
        if self.known.isEmpty { self.known = [Double](repeating: 1, count: self.count * self.length) }
        for t in 0..<self.length where !source[t].isFinite { self.known[row * self.length + t] = 0 }
    }

    /// Sum and centred energy of a complete series over `count` buckets from `start` on.
    @inline(__always)
    func moments(_ row: Int, from start: Int, count: Int) -> (sum: Double, energy: Double) {
        let base = row * (self.length + 1) + start
        let sum = self.sums[base + count] - self.sums[base]
        let square = self.squares[base + count] - self.squares[base]
        let energy = square - sum * sum / Double(count)
        // Below this share of the whole stretch the difference of prefix sums is rounding.
        let floor = 1e-11 * self.squares[row * (self.length + 1) + self.length]
        return (sum, energy > floor ? energy : 0)
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
        let (leaderSum, leaderEnergy) = self.moments(leader, from: leaderStart, count: size)
        let (followerSum, followerEnergy) = self.moments(follower, from: followerStart, count: size)
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
        let xFloor = 1e-11 * self.squares[(leader / self.length + 1) * (self.length + 1) - 1]
        let yFloor = 1e-11 * self.squares[(follower / self.length + 1) * (self.length + 1) - 1]
        guard xx > xFloor, yy > yFloor else { return LagProduct(overlap: Int(n)) }
        return LagProduct(
            score: min(1, max(-1, xy / scale)).roundedToNine, overlap: Int(n), leaderEnergy: xx, followerEnergy: yy)
    }
}
