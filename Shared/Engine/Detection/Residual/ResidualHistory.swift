/// The last days of one event's values: what the residual detector learns from.
///
/// Values are kept in single precision (4 bytes a node and bucket). Residuals after the profile are not kept: the profile as it
/// was before the oldest row is, and walking it over the rows gives them again, to the bit.
struct ResidualHistory: Sendable, Hashable, Codable {
    /// Bucket number of each row, ascending.
    private(set) var buckets: [Int64] = []
    /// rows x d.
    private var packed = PackedFloats([])
    /// Rows that must not teach: the event's score was beyond the guard level.
    private(set) var barred: [Bool] = []
    /// The profile before the oldest row.
    private var startProfile: SeasonalProfile
    /// The profile after the newest row.
    private var profile: SeasonalProfile
    /// Bucket of each node's first value. Count: d.
    private(set) var births: [Int64] = []
    /// The residual rows of the newest bucket and of the one before, d each.
    var newest: [Double] { self.packedNewest.values }
    var previous: [Double] { self.packedPrevious.values }
    private var packedNewest = PackedDoubles([])
    private var packedPrevious = PackedDoubles([])
    private(set) var width = 0

    init(period: Int) {
        self.startProfile = SeasonalProfile(period: period, width: 0)
        self.profile = self.startProfile
    }

    var count: Int { self.buckets.count }
    var period: Int { self.profile.period }

    /// The value of a node in a row; NaN before its first.
    func value(row: Int, node: Int) -> Double { Double(self.packed.values[row * self.width + node]) }

    /// Takes in a row of d values. NaN is held over from the row before.
    mutating func append(_ values: [Double], bucket: Int64) {
        var row = [Double](repeating: .nan, count: self.width)
        for node in 0..<self.width {
            var value = Float(values[node])
            if !value.isFinite {
                value = self.count > 0 ? self.packed.values[(self.count - 1) * self.width + node] : .nan
            }
            if value.isFinite, self.births[node] == .max { self.births[node] = bucket }
            self.packed.values.append(value)
            row[node] = Double(value)
        }
        self.buckets.append(bucket)
        self.barred.append(false)
        self.packedPrevious = self.packedNewest
        self.packedNewest.values = self.profile.residual(of: row, bucket: bucket, births: self.births)
        if self.previous.isEmpty { self.packedPrevious.values = [Double](repeating: .nan, count: self.width) }
    }

    /// Makes room for new nodes; `places` are their columns in the new layout, ascending.
    mutating func insertColumns(at places: [Int]) {
        let width = self.width
        self.packed.values = Columns.inserting(
            places, filler: Float.nan, into: self.packed.values, rows: self.count, width: width)
        self.births = Columns.inserting(places, filler: Int64.max, into: self.births, rows: 1, width: width)
        let known = self.count > 0 ? 1 : 0
        self.packedNewest.values = Columns.inserting(
            places, filler: Double.nan, into: self.newest, rows: known, width: width)
        self.packedPrevious.values = Columns.inserting(
            places, filler: Double.nan, into: self.previous, rows: known, width: width)
        self.startProfile.insertColumns(at: places)
        self.profile.insertColumns(at: places)
        self.width += places.count
    }

    mutating func bar(row: Int) { self.barred[row] = true }

    /// Bars no row from `row` on.
    mutating func clearBars(from row: Int) {
        for index in self.barred.indices.dropFirst(max(0, row)) { self.barred[index] = false }
    }

    /// Drops the oldest `excess` rows, moving the start profile over them.
    mutating func dropOldest(_ excess: Int) {
        guard excess > 0, excess <= self.count else { return }
        for row in 0..<excess {
            _ = self.startProfile.residual(of: self.row(row), bucket: self.buckets[row], births: self.births)
        }
        self.packed.values.removeFirst(excess * self.width)
        self.buckets.removeFirst(excess)
        self.barred.removeFirst(excess)
    }

    /// All residual rows, rows x d, as they were when the rows came in.
    func residuals() -> [Double] {
        var profile = self.startProfile
        var table: [Double] = []
        table.reserveCapacity(self.count * self.width)
        for row in 0..<self.count {
            table += profile.residual(of: self.row(row), bucket: self.buckets[row], births: self.births)
        }
        return table
    }

    /// All rows as they came in, rows x d.
    func values() -> [Double] { self.packed.values.map(Double.init) }

    /// One row of d values.
    func row(_ row: Int) -> [Double] {
        self.packed.values[row * self.width..<(row + 1) * self.width].map(Double.init)
    }
}
