import Model
import Postgres

/// Where a page of a list ordered by (time descending, id) ended.
struct PageEnd: Hashable, Sendable, Codable {
    let time: Timestamp
    let id: String
}

/// The conditions of a list and what they are given, grown side by side. Texts are ours; whatever a caller sent is a parameter.
struct ListQuery {
    private var conditions: [String] = []
    private(set) var parameters: [PostgresValue] = []

    /// - Parameter condition: with `?` where the value goes.
    mutating func require(_ condition: String, _ value: PostgresValue) {
        self.parameters.append(value)
        self.conditions.append(condition.replacing("?", with: "$\(self.parameters.count)"))
    }

    mutating func require(_ condition: String) { self.conditions.append(condition) }

    var filters: String { self.conditions.isEmpty ? "" : "WHERE " + self.conditions.joined(separator: " AND ") }

    /// The whole statement for one page, newest first.
    mutating func page(
        _ columns: String, _ source: String, time: String, id: String, after end: PageEnd?, limit: Int
    ) -> PostgresStatement {
        if let end {
            self.parameters += [.timestamp(end.time), .text(end.id)]
            let (at, name) = (self.parameters.count - 1, self.parameters.count)
            self.conditions.append("(\(time) < $\(at) OR (\(time) = $\(at) AND \(id) > $\(name)))")
        }
        self.parameters.append(.int(limit))
        return PostgresStatement(
            composed: """
                SELECT \(columns) \(source) \(self.filters)
                ORDER BY \(time) DESC, \(id) LIMIT $\(self.parameters.count)
                """)
    }
}
