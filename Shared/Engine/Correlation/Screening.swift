import COpenBLAS
import Model

/// Float r of all pairs of a tile at all lags, by matrix products.
///
/// Error bound. With u = 2^-24 and rows scaled to norm 1 in the window, storing a row in float costs a relative u per
/// value, a dot product of n terms in any order at most n u |x||y| (Higham 2002, section 3.1), the rank-one correction for
/// the means and the two final factors a few u more. Divided by the centred norms this is at most
/// (n + 32) u kappa(x) kappa(y), where kappa is the largest ratio of plain to centred norm over the lag windows of a row.
final class Screening {
    let panel: SeriesPanel
    /// Row length of `values`.
    private let length: Int
    private let lags: Int
    /// n x length: the present, scaled.
    private var values: [Float]
    /// By row, then lag 0 ... L: mean term and 1 / centred norm as leader and as follower.
    private var leader: [LagFactor]
    private var follower: [LagFactor]
    private var conditions: [Float]
    private var isLoaded: [Bool]
    /// n x K: autocorrelations times sqrt(1 - k/n), whose products are the sums of the effective size.
    private var memories: [Float]

    struct LagFactor {
        var mean: Float = 0
        var inverse: Float = 0
    }

    /// OpenBLAS runs on the calling thread: evaluations are what runs side by side.
    private static let isSingleThreaded: Bool = {
        openblas_set_num_threads(1)
        return true
    }()

    init(panel: SeriesPanel) {
        precondition(Self.isSingleThreaded, "the library was told to use one thread")
        let count = panel.block.nodes.count
        self.panel = panel
        self.length = panel.present.length
        self.lags = panel.shape.lag
        self.values = [Float](repeating: 0, count: count * panel.present.length)
        self.leader = [LagFactor](repeating: LagFactor(), count: count * (panel.shape.lag + 1))
        self.follower = self.leader
        self.conditions = [Float](repeating: 1, count: count)
        self.isLoaded = [Bool](repeating: false, count: count)
        self.memories = [Float](repeating: 0, count: count * panel.autocorrelationLags)
    }

    /// All pairs within `rows`.
    func tile(_ rows: [Int]) -> ScreenedTile { self.tile(rows, rows, isSquare: true) }

    /// All pairs of a row and a column.
    func tile(_ rows: [Int], _ columns: [Int]) -> ScreenedTile { self.tile(rows, columns, isSquare: false) }

    private func tile(_ rows: [Int], _ columns: [Int], isSquare: Bool) -> ScreenedTile {
        let size = rows.count * columns.count
        var tile = ScreenedTile(rows: rows, columns: columns, isSquare: isSquare, lags: self.lags)
        tile.scores = [Float](
            unsafeUninitializedCapacity: size * (isSquare ? self.lags + 1 : 2 * self.lags + 1)
        ) { buffer, count in
            buffer.initialize(repeating: 0)
            count = buffer.count
        }
        tile.maxima = [Float](repeating: 0, count: size)
        tile.rowConditions = rows.map { self.load($0) }
        tile.columnConditions = columns.map { self.load($0) }
        tile.unit = Float(self.panel.present.window + 32) * 0x1p-24
        let left = self.gathered(rows, self.values, width: self.length)
        let right = isSquare ? left : self.gathered(columns, self.values, width: self.length)
        for lag in 0...self.lags {
            let overlap = self.panel.present.overlap(atLag: lag)
            guard overlap > 1 else { continue }
            let leaderStart = self.length - overlap - lag
            let followerStart = self.length - overlap
            self.multiply(
                left, leaderStart, rows.count, right, followerStart, columns.count, depth: overlap,
                into: &tile.scores, at: (isSquare ? lag : self.lags + lag) * size)
            self.finish(&tile, at: isSquare ? lag : self.lags + lag, lag, rowsLead: true)
            guard !isSquare, lag > 0 else { continue }
            self.multiply(
                left, followerStart, rows.count, right, leaderStart, columns.count, depth: overlap,
                into: &tile.scores, at: (self.lags - lag) * size)
            self.finish(&tile, at: self.lags - lag, lag, rowsLead: false)
        }
        self.measureMemories(&tile)
        return tile
    }

    /// Rows of a matrix one after the other; the matrix itself when it is that already.
    private func gathered(_ rows: [Int], _ matrix: [Float], width: Int) -> [Float] {
        if rows.count * width == matrix.count { return matrix }
        var result: [Float] = []
        result.reserveCapacity(rows.count * width)
        for row in rows { result.append(contentsOf: matrix[row * width..<(row + 1) * width]) }
        return result
    }

    /// C = A B^T over `depth` columns of A from `leftStart` and of B from `rightStart`.
    private func multiply(
        _ left: [Float], _ leftStart: Int, _ leftCount: Int, _ right: [Float], _ rightStart: Int, _ rightCount: Int,
        depth: Int, into result: inout [Float], at offset: Int
    ) {
        let width = Int32(left.count / leftCount)
        left.withUnsafeBufferPointer { left in
            right.withUnsafeBufferPointer { right in
                result.withUnsafeMutableBufferPointer { result in
                    guard let a = left.baseAddress, let b = right.baseAddress, let c = result.baseAddress else {
                        return
                    }
                    cblas_sgemm(
                        CblasRowMajor, CblasNoTrans, CblasTrans, Int32(leftCount), Int32(rightCount), Int32(depth), 1,
                        a + leftStart, width, b + rightStart, width, 0, c + offset, Int32(rightCount))
                }
            }
        }
    }

    /// Turns sums of products into r and keeps the largest |r| of each pair.
    private func finish(_ tile: inout ScreenedTile, at slot: Int, _ lag: Int, rowsLead: Bool) {
        let (rows, columns, stride) = (tile.rows, tile.columns, self.lags + 1)
        let columnFactors = columns.map { (rowsLead ? self.follower : self.leader)[$0 * stride + lag] }
        let means = columnFactors.map(\.mean)
        let inverses = columnFactors.map(\.inverse)
        let width = columns.count
        tile.scores.withUnsafeMutableBufferPointer { scores in
            tile.maxima.withUnsafeMutableBufferPointer { maxima in
                means.withUnsafeBufferPointer { means in
                    inverses.withUnsafeBufferPointer { inverses in
                        for (i, row) in rows.enumerated() {
                            let factor = (rowsLead ? self.leader : self.follower)[row * stride + lag]
                            let base = slot * rows.count * width + i * width
                            for j in 0..<width {
                                let score =
                                    (scores[base &+ j] - factor.mean * means[j]) * (factor.inverse * inverses[j])
                                scores[base &+ j] = score
                                let size = abs(score)
                                maxima[i &* width &+ j] =
                                    size > maxima[i &* width &+ j] ? size : maxima[i &* width &+ j]
                            }
                        }
                    }
                }
            }
        }
    }

    /// Stores a row in float on first use.
    /// - Returns: kappa of the row.
    private func load(_ row: Int) -> Float {
        guard !self.isLoaded[row] else { return self.conditions[row] }
        self.isLoaded[row] = true
        let present = self.panel.present
        let state = present.states[row]
        guard !state.isConstant, !state.isShort, !state.isMissing else { return 1 }
        let start = self.length - present.window
        let energy = present.moments(row, from: start, count: present.window).energy
        guard energy > 0 else { return 1 }
        let scale = 1 / energy.squareRoot()
        for t in 0..<self.length {
            self.values[row * self.length + t] = Float(present.values[row * self.length + t] * scale)
        }
        var condition = 1.0
        for lag in 0...self.lags {
            let overlap = present.overlap(atLag: lag)
            guard overlap > 1 else { continue }
            for (isLeader, from) in [(true, self.length - overlap - lag), (false, self.length - overlap)] {
                let (sum, energy) = present.moments(row, from: from, count: overlap)
                var factor = LagFactor()
                if energy > 0 {
                    factor.mean = Float(sum * scale / Double(overlap).squareRoot())
                    factor.inverse = Float(1 / (energy.squareRoot() * scale))
                    let plain = energy + sum * sum / Double(overlap)
                    condition = max(condition, (plain / energy).squareRoot())
                }
                if isLeader {
                    self.leader[row * (self.lags + 1) + lag] = factor
                } else {
                    self.follower[row * (self.lags + 1) + lag] = factor
                }
            }
        }
        self.conditions[row] = Float(condition)
        self.loadMemory(row)
        return self.conditions[row]
    }

    private func loadMemory(_ row: Int) {
        let lags = self.panel.autocorrelationLags
        let size = Double(self.panel.present.window)
        _ = self.panel.withAutocorrelation(row) { correlations in
            for k in 0..<lags {
                let weight = (1 - Double(k + 1) / size).squareRoot()
                self.memories[row * lags + k] = Float(correlations[k] * weight)
            }
        }
    }

    private func measureMemories(_ tile: inout ScreenedTile) {
        let lags = self.panel.autocorrelationLags
        tile.memories = [Float](repeating: 0, count: tile.rows.count * tile.columns.count)
        // n share < 10 <=> sum > (n/10 - 1) / 2, with the fewest buckets any lag has.
        let least = self.panel.leastOverlap
        tile.memoryLimit = least < 10 ? -.infinity : Float((Double(least) / 10 - 1) / 2)
        // Sums of K products of numbers in -1 ... 1, each rounded once before: at most (K + 16) u K off.
        tile.memorySlack = Float((lags + 16) * max(1, lags)) * 0x1p-24
        guard lags > 0 else { return }
        let left = self.gathered(tile.rows, self.memories, width: lags)
        let right = tile.isSquare ? left : self.gathered(tile.columns, self.memories, width: lags)
        self.multiply(
            left, 0, tile.rows.count, right, 0, tile.columns.count, depth: lags, into: &tile.memories, at: 0)
    }
}

/// What screening knows of the pairs of a tile.
struct ScreenedTile {
    let rows: [Int]
    let columns: [Int]
    /// Rows and columns are the same nodes: the score of (i, j) at lag -l stands at (j, i), lag l.
    let isSquare: Bool
    let lags: Int
    /// Square: lag 0 ... L; else lag -L ... L; each rows x columns, positive lags with the row leading.
    var scores: [Float] = []
    var maxima: [Float] = []
    var memories: [Float] = []
    var memoryLimit: Float = 0
    var memorySlack: Float = 0
    var rowConditions: [Float] = []
    var columnConditions: [Float] = []
    var unit: Float = 0

    init(rows: [Int], columns: [Int], isSquare: Bool, lags: Int) {
        self.rows = rows
        self.columns = columns
        self.isSquare = isSquare
        self.lags = lags
    }

    enum Length { case short, long, unclear }

    /// Whether the effective size is under 10; `unclear` within the rounding of float.
    @inline(__always)
    func length(_ i: Int, _ j: Int) -> Length {
        let sum = self.memories[i * self.columns.count + j]
        if sum > self.memoryLimit + self.memorySlack { return .short }
        return sum < self.memoryLimit - self.memorySlack ? .long : .unclear
    }

    @inline(__always)
    func bound(_ i: Int, _ j: Int) -> Float { self.unit * self.rowConditions[i] * self.columnConditions[j] }

    @inline(__always)
    func largest(_ i: Int, _ j: Int) -> Float {
        let width = self.columns.count
        return self.isSquare
            ? max(self.maxima[i * width + j], self.maxima[j * width + i]) : self.maxima[i * width + j]
    }

    /// Scores by signed lag; flipped: positive lags let the column lead.
    func lags(_ i: Int, _ j: Int, isFlipped: Bool, bound: Float) -> ScreenedLags {
        let width = self.columns.count
        let size = self.rows.count * width
        var scores = [Float](repeating: 0, count: 2 * self.lags + 1)
        for lag in -self.lags...self.lags {
            let score: Float
            if self.isSquare {
                score = lag >= 0 ? self.scores[lag * size + i * width + j] : self.scores[-lag * size + j * width + i]
            } else {
                score = self.scores[(lag + self.lags) * size + i * width + j]
            }
            scores[(isFlipped ? -lag : lag) + self.lags] = score
        }
        return ScreenedLags(scores: scores, bound: bound)
    }
}
