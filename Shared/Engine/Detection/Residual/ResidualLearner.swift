import Foundation

/// Learns a ``ResidualModel`` from a history: steps 2 to 6 of the method in docs/engine.md, all rows at once.
struct ResidualLearner {
    let history: ResidualHistory
    let usesProfile: Bool
    /// Rows `first ..< end` are learnt from, each node from two periods after its first value on (at once without a
    /// profile).
    let first: Int
    let smoothing: Int
    /// Buckets a node must have in the learning rows.
    let leastRows: Int

    /// What comes with a model: the node scores of the learning rows, for the alarm level.
    struct Outcome {
        var model: ResidualModel
        /// rows x k node scores of the rows learnt from; rows that must not teach are left out.
        var nodeScores: [Double]
    }

    /// Nil when no node has enough rows.
    func learn() -> Outcome? {
        let end = self.history.count
        let residuals = self.usesProfile ? self.history.residuals() : self.history.values()
        let starts = self.startRows()
        let columns = (0..<self.history.width).filter { end - starts[$0] >= self.leastRows }
        guard !columns.isEmpty else { return nil }
        let table = LearningTable(
            history: self.history, residuals: residuals, columns: columns, starts: columns.map { starts[$0] },
            first: self.first, centred: !self.usesProfile)
        let k = columns.count
        let phi = table.autoregression()
        let (mean, sd) = table.moments(phi: phi)
        var model = ResidualModel(
            usesProfile: self.usesProfile, columns: columns, smoothing: self.smoothing, origin: table.origin, phi: phi,
            mean: mean, sd: sd, tails: [],
            precision: PackedDoubles([]), distanceTail: SurpriseTail(past: [0]), guardLevel: .greatestFiniteMagnitude)
        var sizes: [Double] = []
        var seasonal: [Double] = []
        sizes.reserveCapacity(table.rows * 3 * k)
        seasonal.reserveCapacity(table.rows * k)
        for row in 0..<table.rows {
            let (rowSizes, rowSeasonal) = model.standardise(
                values: table.values(row), residual: table.uncentred(row), previous: table.uncentredBefore(row))
            sizes += rowSizes
            seasonal += rowSeasonal
        }
        model.precision = PackedDoubles(self.precision(seasonal: seasonal, table: table, count: k))
        let smoothed = Trailing.means(of: sizes, width: 3 * k, over: self.smoothing)
        let distances = Trailing.means(
            of: (0..<table.rows).map { model.neighbours(of: Array(seasonal[$0 * k..<($0 + 1) * k])).distance },
            width: 1,
            over: self.smoothing)
        model.tails = (0..<3 * k).map { column in
            SurpriseTail(past: table.taught(node: column % k).map { smoothed[$0 * 3 * k + column] })
        }
        model.distanceTail = SurpriseTail(
            past: table.taughtRows.map { (distances[$0] / Double(k)).squareRoot() })
        return self.scored(model, smoothed: smoothed, distances: distances, table: table)
    }

    /// First row each node may be learnt from.
    private func startRows() -> [Int] {
        let skipped = self.usesProfile ? Int64(2 * self.history.period) : 0
        return self.history.births.map { birth in
            guard birth != .max else { return self.history.count }
            guard self.history.buckets.indices.contains(self.first) else { return self.history.count }
            var low = self.first
            var high = self.history.count
            while low < high {
                let middle = (low + high) / 2
                if self.history.buckets[middle] < birth + skipped { low = middle + 1 } else { high = middle }
            }
            return low
        }
    }

    /// Inverse of 0.9 R + 0.1 I with R the correlations of standardised residuals; a node that rests correlates with none.
    private func precision(seasonal: [Double], table: LearningTable, count k: Int) -> [Double] {
        var sums = [Double](repeating: 0, count: k * k)
        sums.withUnsafeMutableBufferPointer { sums in
            seasonal.withUnsafeBufferPointer { seasonal in
                for row in table.taughtRows {
                    for one in 0..<k {
                        let value = row < table.starts[one] ? 0 : seasonal[row * k + one]
                        guard value != 0 else { continue }
                        for other in one..<k where row >= table.starts[other] {
                            sums[one * k + other] += value * seasonal[row * k + other]
                        }
                    }
                }
            }
        }
        var mixed = [Double](repeating: 0, count: k * k)
        for one in 0..<k {
            mixed[one * k + one] = 1
            for other in one + 1..<max(k, one + 1) {
                let norm = (sums[one * k + one] * sums[other * k + other]).squareRoot()
                let r = norm > 0 ? sums[one * k + other] / norm : 0
                mixed[one * k + other] = (1 - ResidualModel.ridge) * r
                mixed[other * k + one] = mixed[one * k + other]
            }
        }
        // Positive definite: a Gram matrix of unit vectors scaled by 0.9, plus 0.1 on the diagonal.
        return SymmetricInverse.invert(mixed, size: k)
            ?? (0..<k * k).map { $0 / k == $0 % k ? 1 : 0 }
    }

    /// Scores the learning rows by the model itself: the guard level and what the alarm level is learnt from.
    private func scored(
        _ model: ResidualModel, smoothed: [Double], distances: [Double], table: LearningTable
    ) -> Outcome {
        var model = model
        let k = model.count
        var nodeScores: [Double] = []
        var eventScores: [Double] = []
        for row in table.taughtRows {
            let parts = model.surprises(of: Array(smoothed[row * 3 * k..<(row + 1) * 3 * k]))
            let scores = (0..<k).map { node in
                row < table.starts[node] ? 0 : parts[node] + parts[k + node] + parts[2 * k + node]
            }
            nodeScores += scores
            eventScores.append(model.eventScore(nodeScores: scores, meanDistance: distances[row]))
        }
        if !eventScores.isEmpty {
            model.guardLevel = RobustScale.quantile(ofSorted: eventScores.sorted(), 0.995)
        }
        return Outcome(model: model, nodeScores: nodeScores)
    }
}

/// Trailing means down the columns of a row-major table.
enum Trailing {
    /// Row t is the mean of rows t - span + 1 ... t, of fewer at the start.
    static func means(of table: [Double], width: Int, over span: Int) -> [Double] {
        var result = [Double](repeating: 0, count: table.count)
        guard width > 0 else { return result }
        let rows = table.count / width
        table.withUnsafeBufferPointer { table in
            for row in 0..<rows {
                let start = max(0, row - span + 1)
                let share = 1 / Double(row - start + 1)
                for column in 0..<width {
                    var sum = 0.0
                    for past in start...row { sum += table[past * width + column] }
                    result[row * width + column] = sum * share
                }
            }
        }
        return result
    }
}
