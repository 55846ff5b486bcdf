/// Spearman's correlation (1904): Pearson's of the ranks.
///
/// Every series is ranked over all its samples, once; samples that only one of two series has are left out of the product, and
/// the others keep their ranks.
package enum RankCorrelation {
    /// Pairs of samples without which nothing is alike.
    package static let leastPairs = 20

    /// Ranks from 0 on, ties sharing their mean rank; NaN where there is no finite sample.
    package static func ranks(_ samples: ArraySlice<Double>) -> [Double] {
        let row = Array(samples)
        let order = row.indices.filter { row[$0].isFinite }.sorted { row[$0] < row[$1] }
        var ranks = [Double](repeating: .nan, count: row.count)
        var first = 0
        while first < order.count {
            var last = first
            while last + 1 < order.count, row[order[last + 1]] == row[order[first]] { last += 1 }
            for place in first...last { ranks[order[place]] = Double(first + last) / 2 }
            first = last + 1
        }
        return ranks
    }

    /// Pearson's correlation of two rows of ranks over the places both have.
    ///
    /// - Returns: nil for fewer than `leastPairs` such places, or where all ranks of one are the same there.
    package static func value(_ one: [Double], _ other: [Double]) -> Double? {
        var (n, x, y, xx, yy, xy) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        for (a, b) in zip(one, other) where a.isFinite && b.isFinite {
            n += 1
            x += a
            y += b
            xx += a * a
            yy += b * b
            xy += a * b
        }
        guard n >= Double(Self.leastPairs) else { return nil }
        let spread = (xx - x * x / n) * (yy - y * y / n)
        return spread > 1e-9 ? (xy - x * y / n) / spread.squareRoot() : nil
    }
}
