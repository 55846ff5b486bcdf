import CKernels
import Model

/// Float r of all pairs of a tile at all lags, by matrix products.
///
/// Error bound. With u = 2^-24 and rows scaled to norm 1 in the window, storing a row in float costs a relative u per
/// value, a dot product of n terms in any order at most n u |x||y| (Higham 2002, section 3.1), the rank-one correction for
/// the means and the two final factors a few u more. Divided by the centred norms this is at most
/// (n + 32) u kappa(x) kappa(y), where kappa is the largest ratio of plain to centred norm over the lag windows of a row.
struct Screening {
    let panel: SeriesPanel

    /// All pairs within `rows`.
    func tile(_ rows: PackedRows) -> ScreenedTile { self.tile(rows, rows, isSquare: true) }

    /// All pairs of a row and a column.
    func tile(_ rows: PackedRows, _ columns: PackedRows) -> ScreenedTile {
        self.tile(rows, columns, isSquare: false)
    }

    private func tile(_ rows: PackedRows, _ columns: PackedRows, isSquare: Bool) -> ScreenedTile {
        let lags = self.panel.shape.lag
        let length = self.panel.present.length
        var tile = ScreenedTile(rows: rows, columns: columns, isSquare: isSquare, lags: lags)
        tile.unit = Float(self.panel.present.window + 32) * 0x1p-24
        for lag in 0...lags {
            let overlap = self.panel.present.overlap(atLag: lag)
            guard overlap > 1 else { continue }
            let leaderStart = length - overlap - lag
            let followerStart = length - overlap
            let slot = isSquare ? lag : lags + lag
            tile.multiply(rows.values, leaderStart, columns.values, followerStart, overlap, at: slot)
            tile.finish(lag, rowsLead: true, at: slot)
            guard !isSquare, lag > 0 else { continue }
            tile.multiply(rows.values, followerStart, columns.values, leaderStart, overlap, at: lags - lag)
            tile.finish(lag, rowsLead: false, at: lags - lag)
        }
        tile.measureMemories(self.panel)
        return tile
    }
}

/// What screening knows of the pairs of a tile.
struct ScreenedTile {
    let rows: PackedRows
    let columns: PackedRows
    /// Rows and columns are the same nodes: the score of (i, j) at lag -l stands at (j, i), lag l.
    let isSquare: Bool
    let lags: Int
    /// Row length of all matrices below.
    private let width: Int
    /// Entries of one matrix.
    private let size: Int
    /// Square: lag 0 ... L; else lag -L ... L; each rows x width, positive lags with the row leading.
    private var scores: [Float]
    private var maxima: [Float]
    private var memories: [Float]
    private var memoryLimit: Float = 0
    private var memorySlack: Float = 0
    var unit: Float = 0

    init(rows: PackedRows, columns: PackedRows, isSquare: Bool, lags: Int) {
        self.rows = rows
        self.columns = columns
        self.isSquare = isSquare
        self.lags = lags
        self.width = columns.width
        // Both matrices of a square tile are read at (j, i), too.
        self.size = rows.paddedCount * columns.width
        self.scores = [Float](repeating: 0, count: self.size * (isSquare ? lags + 1 : 2 * lags + 1))
        self.maxima = [Float](repeating: 0, count: self.size)
        self.memories = self.maxima
    }

    /// Sums of products over `depth` buckets of the rows from `leftStart` and of the columns from `rightStart` on.
    mutating func multiply(
        _ left: [Float], _ leftStart: Int, _ right: [Float], _ rightStart: Int, _ depth: Int, at slot: Int
    ) {
        let (rows, columns, offset) = (self.rows, self.columns, slot * self.size)
        self.scores.withUnsafeMutableBufferPointer { scores in
            Self.product(rows, left, leftStart, columns, right, rightStart, depth, into: scores, at: offset)
        }
    }

    private static func product(
        _ rows: PackedRows, _ left: [Float], _ leftStart: Int, _ columns: PackedRows, _ right: [Float],
        _ rightStart: Int, _ depth: Int,
        into result: UnsafeMutableBufferPointer<Float>, at offset: Int
    ) {
        left.withUnsafeBufferPointer { left in
            right.withUnsafeBufferPointer { right in
                guard let a = left.baseAddress, let b = right.baseAddress, let c = result.baseAddress else { return }
                kernel_products(
                    a + leftStart * rows.width, rows.width, b + rightStart * columns.width, columns.width,
                    rows.paddedCount, columns.width, depth, c + offset, columns.width)
            }
        }
    }

    /// Turns sums of products into r and keeps the largest |r| of each pair.
    mutating func finish(_ lag: Int, rowsLead: Bool, at slot: Int) {
        let (rows, columns, size) = (self.rows, self.columns, self.size)
        let (rowFactors, columnFactors) = ((self.lags + 1) * rows.width, (self.lags + 1) * columns.width)
        self.scores.withUnsafeMutableBufferPointer { scores in
            self.maxima.withUnsafeMutableBufferPointer { maxima in
                rows.factors.withUnsafeBufferPointer { left in
                    columns.factors.withUnsafeBufferPointer { right in
                        guard let left = left.baseAddress, let right = right.baseAddress,
                            let scores = scores.baseAddress
                        else { return }
                        let leftMeans = left + (rowsLead ? 0 : 2 * rowFactors) + lag * rows.width
                        let rightMeans = right + (rowsLead ? 2 * columnFactors : 0) + lag * columns.width
                        kernel_scores(
                            scores + slot * size, rows.rows.count, columns.width, leftMeans, leftMeans + rowFactors,
                            rightMeans, rightMeans + columnFactors, maxima.baseAddress)
                    }
                }
            }
        }
    }

    /// The sums of the effective size of all pairs, and where they mean fewer than 10.
    mutating func measureMemories(_ panel: SeriesPanel) {
        let lags = panel.autocorrelationLags
        // n share < 10 <=> sum > (n/10 - 1) / 2, with the fewest buckets any lag has.
        let least = panel.leastOverlap
        self.memoryLimit = least < 10 ? -.infinity : Float((Double(least) / 10 - 1) / 2)
        // Sums of K products of numbers in -1 ... 1, each rounded once before: at most (K + 16) u K off.
        self.memorySlack = Float((lags + 16) * max(1, lags)) * 0x1p-24
        guard lags > 0 else { return }
        let (rows, columns) = (self.rows, self.columns)
        self.memories.withUnsafeMutableBufferPointer { memories in
            Self.product(rows, rows.memories, 0, columns, columns.memories, 0, lags, into: memories, at: 0)
        }
    }

    enum Length { case short, long, unclear }

    /// Whether the effective size is under 10; `unclear` within the rounding of float.
    @inline(__always)
    func length(_ i: Int, _ j: Int) -> Length {
        let sum = self.memories[i * self.width + j]
        if sum > self.memoryLimit + self.memorySlack { return .short }
        return sum < self.memoryLimit - self.memorySlack ? .long : .unclear
    }

    /// How far a score may be from the true r.
    @inline(__always)
    func bound(_ i: Int, _ j: Int) -> Float { self.unit * self.rows.conditions[i] * self.columns.conditions[j] }

    @inline(__always)
    func largest(_ i: Int, _ j: Int) -> Float {
        let own = self.maxima[i * self.width + j]
        return self.isSquare ? max(own, self.maxima[j * self.width + i]) : own
    }

    /// Scores by signed lag; flipped: positive lags let the column lead.
    func lags(_ i: Int, _ j: Int, isFlipped: Bool, bound: Float) -> ScreenedLags {
        var scores = [Float](repeating: 0, count: 2 * self.lags + 1)
        for lag in -self.lags...self.lags {
            let score: Float
            if self.isSquare {
                score =
                    lag >= 0
                    ? self.scores[lag * self.size + i * self.width + j]
                    : self.scores[-lag * self.size + j * self.width + i]
            } else {
                score = self.scores[(lag + self.lags) * self.size + i * self.width + j]
            }
            scores[(isFlipped ? -lag : lag) + self.lags] = score
        }
        return ScreenedLags(scores: scores, bound: bound)
    }
}
