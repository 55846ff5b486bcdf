import CKernels
import Model

/// Approximate r of all pairs of a tile at all lags, by matrix products.
///
/// Error bound. Let kappa be the largest ratio of plain to centred norm over the lag windows of a row and u = 2^-24.
///
/// Floats: with rows scaled to norm 1 in the window, storing a row in float costs a relative u per value, a dot product of
/// n terms in any order at most n u |x||y| (Higham 2002, section 3.1), the rank-one correction for the means and the two
/// final factors a few u more. Divided by the centred norms this is at most (n + 32) u kappa(x) kappa(y).
///
/// Bytes: let X and Y be the rounded rows, eta the norm of what rounding took away over the least centred norm. Sums of
/// products of bytes are exact, and by Cauchy and Schwarz |xy - XY| = |(x - X) Y + x (y - Y)| is, over the centred norms,
/// at most eta(x) (kappa(y) + eta(y)) + kappa(x) eta(y). To float and corrected for the means as above: 32 u kappa(x)
/// kappa(y) more.
struct Screening {
    let panel: SeriesPanel
    let arithmetic: ScreenArithmetic
    private let scores: UnsafeMutablePointer<Float>
    private let maxima: UnsafeMutablePointer<Float>
    private let memories: UnsafeMutablePointer<Float>

    /// - Parameter size: the most pairs a tile has, padded; one tile is in use at a time.
    init(panel: SeriesPanel, arithmetic: ScreenArithmetic, size: Int) {
        self.panel = panel
        self.arithmetic = arithmetic
        self.scores = panel.memory.take(Float.self, 2 * (panel.shape.lag + 1) * size)
        self.maxima = panel.memory.take(Float.self, 2 * size)
        self.memories = panel.memory.take(Float.self, size)
    }

    /// All pairs of a row and a column; the two are the same for the pairs within some rows.
    func tile(_ rows: PackedRows, _ columns: PackedRows, isSquare: Bool) -> ScreenedTile {
        let lags = self.panel.shape.lag
        let (ahead, behind) = (rows.paddedCount * columns.width, columns.paddedCount * rows.width)
        self.maxima.update(repeating: 0, count: isSquare ? ahead : ahead + behind)
        let backScores = isSquare ? self.scores : self.scores + (lags + 1) * ahead
        let backMaxima = isSquare ? self.maxima : self.maxima + ahead
        for lag in 0...lags {
            guard self.panel.present.overlap(atLag: lag) > 1 else {
                (self.scores + lag * ahead).update(repeating: 0, count: ahead)
                if !isSquare { (backScores + lag * behind).update(repeating: 0, count: behind) }
                continue
            }
            self.multiply(rows, columns, lag, self.scores + lag * ahead, self.maxima)
            if !isSquare, lag > 0 {
                self.multiply(columns, rows, lag, backScores + lag * behind, backMaxima)
            }
        }
        if lags > 0 {
            kernel_join_maxima(
                self.maxima, rows.rows.count, columns.rows.count, columns.width, backMaxima,
                isSquare ? columns.width : rows.width, isSquare ? 1 : 0)
        }
        let count = self.panel.autocorrelationLags
        if count > 0 {
            kernel_products(
                rows.memories, rows.width, columns.memories, columns.width, rows.paddedCount, columns.width, count,
                self.memories, columns.width)
        } else {
            self.memories.update(repeating: 0, count: ahead)
        }
        return ScreenedTile(
            rows: rows, columns: columns, isSquare: isSquare, lags: lags, panel: self.panel,
            unit: Float(self.arithmetic == .bytes ? 32 : self.panel.present.window + 32) * 0x1p-24,
            ahead: ScreenedTile.Matrices(scores: self.scores, width: columns.width, size: ahead),
            behind: ScreenedTile.Matrices(scores: backScores, width: rows.width, size: isSquare ? ahead : behind),
            maxima: self.maxima, memories: self.memories)
    }

    /// r at one lag, and the largest |r| of each pair so far.
    private func multiply(
        _ leaders: PackedRows, _ followers: PackedRows, _ lag: Int, _ scores: UnsafeMutablePointer<Float>,
        _ maxima: UnsafeMutablePointer<Float>
    ) {
        let (present, width) = (self.panel.present, followers.width)
        let overlap = present.overlap(atLag: lag)
        let start = present.length - overlap
        switch self.arithmetic {
        case .floats:
            kernel_products(
                leaders.values + (start - lag) * leaders.width, leaders.width, followers.values + start * width, width,
                leaders.paddedCount, width, overlap, scores, width)
        case .bytes:
            // Groups are counted from the end, which all windows of followers share.
            let groups = (overlap + 3) / 4
            let skipped = groups * 4 - overlap
            let first = (present.length + 3) / 4 - groups
            kernel_byte_products(
                leaders.leaders + 4 + start - lag - skipped, leaders.stride, followers.followers + first * width * 4,
                width, leaders.paddedCount, groups, skipped, followers.offsets + lag * width, scores)
        }
        let lags = self.panel.shape.lag + 1
        let leading = leaders.factors + lag * leaders.width
        let following = followers.factors + (2 * lags + lag) * width
        kernel_scores(
            scores, leaders.rows.count, width, leading, leading + lags * leaders.width, following,
            following + lags * width, maxima)
    }
}

/// What screening knows of the pairs of a tile; valid until the next tile is screened.
struct ScreenedTile {
    /// Scores of all lags, `size` apart; lines of `width`.
    struct Matrices {
        let scores: UnsafeMutablePointer<Float>
        let width: Int
        let size: Int
    }

    let rows: PackedRows
    let columns: PackedRows
    /// Rows and columns are the same nodes.
    let isSquare: Bool
    let lags: Int
    let unit: Float
    /// Rows lead columns at lags 0 ... L.
    private let ahead: Matrices
    /// Columns lead rows; of a square tile the same as `ahead`.
    private let behind: Matrices
    /// The largest |r| of each pair, in the lines of `ahead`; of a square tile above the diagonal only.
    private let maxima: UnsafeMutablePointer<Float>
    private let memories: UnsafeMutablePointer<Float>
    private let memoryLimit: Float
    private let memorySlack: Float

    init(
        rows: PackedRows, columns: PackedRows, isSquare: Bool, lags: Int, panel: SeriesPanel, unit: Float,
        ahead: Matrices, behind: Matrices, maxima: UnsafeMutablePointer<Float>, memories: UnsafeMutablePointer<Float>
    ) {
        (self.rows, self.columns, self.isSquare, self.lags) = (rows, columns, isSquare, lags)
        (self.unit, self.ahead, self.behind) = (unit, ahead, behind)
        (self.maxima, self.memories) = (maxima, memories)
        // n share < 10 <=> sum > (n/10 - 1) / 2, with the fewest buckets any lag has.
        let least = panel.leastOverlap
        self.memoryLimit = least < 10 ? -.infinity : Float((Double(least) / 10 - 1) / 2)
        self.memorySlack = panel.memorySlack
    }

    enum Length { case short, long, unclear }

    /// Whether the effective size is under 10; `unclear` within the rounding of float.
    @inline(__always)
    func length(_ i: Int, _ j: Int) -> Length {
        let sum = self.memories[i &* self.ahead.width &+ j]
        if sum > self.memoryLimit + self.memorySlack { return .short }
        return sum < self.memoryLimit - self.memorySlack ? .long : .unclear
    }

    /// How far a score may be from the true r.
    @inline(__always)
    func bound(_ i: Int, _ j: Int) -> Float {
        let (x, y) = (self.rows.conditions[i], self.columns.conditions[j])
        let (first, second) = (self.rows.roundings[i], self.columns.roundings[j])
        return first * (y + second) + x * second + self.unit * x * y
    }

    @inline(__always)
    func largest(_ i: Int, _ j: Int) -> Float { self.maxima[i &* self.ahead.width &+ j] }

    /// Columns from `first` on whose pairs with a row may be more than surely long and surely under `limit`, ascending.
    ///
    /// - Parameter found: room for all columns.
    /// - Returns: how many there are.
    func candidates(_ i: Int, from first: Int, limit: Float, into found: UnsafeMutablePointer<Int32>) -> Int {
        let start = i * self.ahead.width
        var line = kernel_line(
            strengths: self.maxima + start, memories: self.memories + start, conditions: self.columns.conditions,
            roundings: self.columns.roundings, condition: self.rows.conditions[i], rounding: self.rows.roundings[i],
            unit: self.unit, limit: limit, memoryLimit: self.memoryLimit - self.memorySlack)
        return kernel_candidates(&line, first, self.columns.rows.count, found)
    }

    /// Fills in the scores by signed lag (index lag + L); flipped: positive lags let the column lead.
    func lags(_ i: Int, _ j: Int, isFlipped: Bool, into scores: UnsafeMutablePointer<Float>) {
        let ahead = self.ahead.scores + (i &* self.ahead.width &+ j)
        let behind = self.behind.scores + (j &* self.behind.width &+ i)
        let step = isFlipped ? -1 : 1
        // `scores` has 2 L + 1 places: L + lag and L - lag are among them for every lag up to L.
        for lag in 0...self.lags {
            scores[self.lags &+ step &* lag] = ahead[lag &* self.ahead.size]
            if lag > 0 { scores[self.lags &- step &* lag] = behind[lag &* self.behind.size] }
        }
    }
}
