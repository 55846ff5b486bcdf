/// The rows a ``ResidualModel`` is learnt from, restricted to the nodes that have enough of them.
struct LearningTable {
    /// Row 0 is row `first` of the history.
    let rows: Int
    /// First row of each node, in this table's numbers. Count: k.
    let starts: [Int]
    /// Rows that may teach, ascending.
    let taughtRows: [Int]
    /// Mean of each node's S while learning where there is no profile, else 0. Count: k.
    private(set) var origin: [Double]
    private let count: Int
    /// rows x k each: values, S, and S of the bucket before.
    private var level: [Double] = []
    private var rest: [Double] = []
    private var restBefore: [Double] = []

    init(history: ResidualHistory, residuals: [Double], columns: [Int], starts: [Int], first: Int, centred: Bool) {
        let width = history.width
        let begin = min(starts.min() ?? first, history.count)
        self.rows = history.count - begin
        self.starts = starts.map { $0 - begin }
        self.count = columns.count
        self.origin = [Double](repeating: 0, count: columns.count)
        self.taughtRows = (begin..<history.count).filter { !history.barred[$0] }.map { $0 - begin }
        self.level.reserveCapacity(self.rows * columns.count)
        self.rest.reserveCapacity(self.rows * columns.count)
        self.restBefore.reserveCapacity(self.rows * columns.count)
        for row in begin..<history.count {
            for column in columns {
                let residual = residuals[row * width + column]
                self.level.append(history.value(row: row, node: column))
                self.rest.append(residual)
                // The oldest row has nothing before it: its innovation counts as none.
                self.restBefore.append(row == 0 ? .nan : residuals[(row - 1) * width + column])
            }
        }
        guard centred else { return }
        for node in 0..<self.count {
            let rows = self.starts[node]..<self.rows
            self.origin[node] = rows.reduce(0) { $0 + self.rest[$1 * self.count + node] } / Double(max(1, rows.count))
        }
    }

    func values(_ row: Int) -> [Double] { self.slice(self.level, row) }
    func uncentred(_ row: Int) -> [Double] { self.slice(self.rest, row) }
    func uncentredBefore(_ row: Int) -> [Double] { self.slice(self.restBefore, row) }

    private func slice(_ table: [Double], _ row: Int) -> [Double] {
        Array(table[row * self.count..<(row + 1) * self.count])
    }

    /// Rows the node may be taught by.
    func taught(node: Int) -> [Int] {
        let start = self.starts[node]
        return start == 0 ? self.taughtRows : self.taughtRows.filter { $0 >= start }
    }

    /// AR(1) coefficient of S of each node: sum S S' / sum S'^2 over neighbouring rows.
    func autoregression() -> [Double] {
        (0..<self.count).map { node in
            var product = 0.0
            var square = 0.0
            for row in self.starts[node] + 1..<max(self.rows, self.starts[node] + 1) {
                let before = self.rest[(row - 1) * self.count + node] - self.origin[node]
                product += (self.rest[row * self.count + node] - self.origin[node]) * before
                square += before * before
            }
            return product / max(square, 1e-9)
        }
    }

    /// Mean and population sd (at least 1e-4) of the three components, component-major.
    func moments(phi: [Double]) -> (mean: [Double], sd: [Double]) {
        let k = self.count
        var mean = [Double](repeating: 0, count: 3 * k)
        var sd = [Double](repeating: ResidualModel.leastSd, count: 3 * k)
        for node in 0..<k {
            let rows = self.taught(node: node)
            guard !rows.isEmpty else { continue }
            for component in 0..<3 {
                var values: [Double] = []
                values.reserveCapacity(rows.count)
                for row in rows { values.append(self.component(component, row: row, node: node, phi: phi[node])) }
                let average = values.reduce(0, +) / Double(values.count)
                let variance = values.reduce(0) { $0 + ($1 - average) * ($1 - average) } / Double(values.count)
                mean[component * k + node] = average
                sd[component * k + node] = max(variance.squareRoot(), ResidualModel.leastSd)
            }
        }
        return (mean, sd)
    }

    private func component(_ component: Int, row: Int, node: Int, phi: Double) -> Double {
        let place = row * self.count + node
        switch component {
        case 0: return self.level[place]
        case 1: return self.rest[place] - self.origin[node]
        default:
            let before = self.restBefore[place] - self.origin[node]
            return before.isFinite ? self.rest[place] - self.origin[node] - phi * before : 0
        }
    }
}
