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
    ///
    /// The page is found before names are looked up, so that the work grows with the page and not with the tables.
    /// - Parameters:
    ///   - table: with the alias that columns, conditions and joins use, `anomalies a`.
    ///   - joins: what gives the rows of the page their names.
    mutating func page(
        _ columns: String, of table: String, alias: String, _ joins: String, time: String, after end: PageEnd?,
        limit: Int
    ) -> PostgresStatement {
        if let end {
            self.parameters += [.timestamp(end.time), .text(end.id)]
            let (at, name) = (self.parameters.count - 1, self.parameters.count)
            self.conditions.append(
                "(\(alias).\(time) < $\(at) OR (\(alias).\(time) = $\(at) AND \(alias).id > $\(name)))")
        }
        self.parameters.append(.int(limit))
        let order = "ORDER BY \(alias).\(time) DESC, \(alias).id"
        return PostgresStatement(
            composed: """
                SELECT \(columns) FROM (
                    SELECT * FROM \(table) \(alias) \(self.filters) \(order) LIMIT $\(self.parameters.count)) \(alias)
                \(joins) \(order)
                """)
    }

    /// The four parts of a node's name under `alias`, one look-up for each row; NULLs where `column` is NULL.
    static func name(_ alias: String, of column: String) -> String {
        """
        LEFT JOIN LATERAL (SELECT domain, event_id, market, venue FROM nodes WHERE node_id = \(column) LIMIT 1) \(alias) ON true
        """
    }
}
