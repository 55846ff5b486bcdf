/// Lines of aligned columns; numbers stand to the right.
struct TextTable {
    enum Alignment { case left, right }

    private let columns: [(title: String, alignment: Alignment)]
    private var rows: [[String]] = []

    init(_ columns: [(title: String, alignment: Alignment)]) { self.columns = columns }

    mutating func add(_ cells: String...) {
        precondition(cells.count == self.columns.count, "a row has a cell for every column")
        self.rows.append(cells)
    }

    var isEmpty: Bool { self.rows.isEmpty }

    /// Each line is indented by two blanks and has none at its end.
    var lines: [String] {
        let titles = self.columns.map(\.title)
        let widths = self.columns.indices.map { index in
            ([titles] + self.rows).map { $0[index].count }.max() ?? 0
        }
        return ([titles] + self.rows).map { row in
            var line = " "
            for (index, cell) in row.enumerated() {
                let padding = String(repeating: " ", count: widths[index] - cell.count)
                line += " " + (self.columns[index].alignment == .left ? cell + padding : padding + cell) + " "
            }
            while line.last == " " { line.removeLast() }
            return line
        }
    }
}
