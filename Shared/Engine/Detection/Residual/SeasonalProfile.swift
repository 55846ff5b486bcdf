/// The value each node usually has at each phase of the period.
///
/// The profile of a phase starts as its first value; from the second period on it is read and then moved towards the new value
/// by max(0.1, 1 / (periods seen + 1)) of the difference. Without a period there is no profile and values pass unchanged.
struct SeasonalProfile: Sendable, Hashable, Codable {
    /// Buckets in a period; 0: none.
    let period: Int
    /// period x d, a row a phase; NaN where the phase was not seen.
    private var packed: PackedDoubles
    private(set) var width: Int

    init(period: Int, width: Int) {
        self.period = period
        self.width = width
        self.packed = PackedDoubles([Double](repeating: .nan, count: period * width))
    }

    /// What is left of one row of values after the profile; moves the profile.
    ///
    /// - Parameters:
    ///   - values: d values; NaN stays NaN.
    ///   - births: bucket of each node's first value.
    mutating func residual(of values: [Double], bucket: Int64, births: [Int64]) -> [Double] {
        guard self.period > 0 else { return values }
        let period = Int64(self.period)
        let phase = Int(((bucket % period) + period) % period)
        var left = values
        for node in 0..<self.width where values[node].isFinite {
            let place = phase * self.width + node
            let usual = self.packed.values[place]
            guard usual.isFinite else {
                self.packed.values[place] = values[node]
                left[node] = 0
                continue
            }
            let residual = values[node] - usual
            left[node] = residual
            let seen = (bucket - births[node]) / period
            if seen > 0 { self.packed.values[place] = usual + max(0.1, 1 / (Double(seen) + 1)) * residual }
        }
        return left
    }

    /// Makes room for nodes: `places` are their columns in the new, wider layout, ascending.
    mutating func insertColumns(at places: [Int]) {
        self.packed.values = Columns.inserting(
            places, filler: Double.nan, into: self.packed.values, rows: self.period, width: self.width)
        self.width += places.count
    }
}

/// Row-major tables that gain columns.
enum Columns {
    /// The table with new columns at `places` (ascending, numbers in the new layout) holding `filler`.
    static func inserting<Value>(_ places: [Int], filler: Value, into table: [Value], rows: Int, width: Int) -> [Value]
    {
        guard !places.isEmpty else { return table }
        let added = Set(places)
        var wider: [Value] = []
        wider.reserveCapacity(rows * (width + places.count))
        for row in 0..<rows {
            var old = row * width
            for column in 0..<width + places.count {
                if added.contains(column) {
                    wider.append(filler)
                } else {
                    wider.append(table[old])
                    old += 1
                }
            }
        }
        return wider
    }
}
