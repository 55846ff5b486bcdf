/// One figure.
struct AccuracyRow: Codable, Equatable, Sendable {
    var set: String
    /// A variant of the question, an entity, a pair, or `all`; parts of it after a slash.
    var `case`: String
    /// Shares are 0 ... 1.
    var measure: String
    var value: Double

    init(_ set: String, _ name: String, _ measure: String, _ value: Double) {
        self.set = set
        self.case = name
        self.measure = measure
        self.value = value
    }

    init(_ set: String, _ name: String, _ measure: String, is condition: Bool) {
        self.init(set, name, measure, condition ? 1 : 0)
    }
}

/// Figures for people: a line per set and case, with the goal of those that have one.
enum AccuracyTable {
    static func print(_ rows: [AccuracyRow]) {
        var lines: [(set: String, name: String, text: String)] = []
        for row in rows {
            let goal = AccuracyGoal.of(row).map { " (\($0.verdict(on: row.value)))" } ?? ""
            let part = "\(row.measure) \(Self.short(row.value))\(goal)"
            if let last = lines.indices.last, lines[last].set == row.set, lines[last].name == row.case {
                lines[last].text += ", " + part
            } else {
                lines.append((row.set, row.case, part))
            }
        }
        var heading: String?
        for line in lines {
            if line.set != heading {
                Swift.print("\n\(line.set)")
                heading = line.set
            }
            Swift.print("  \(line.name): \(line.text)")
        }
    }

    /// Three digits after the point, without trailing zeros.
    private static func short(_ value: Double) -> String {
        let rounded = (value * 1_000).rounded() / 1_000
        guard rounded == rounded.rounded(), abs(rounded) < 1e15 else { return String(rounded) }
        return String(Int64(rounded))
    }
}
