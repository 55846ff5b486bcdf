import Engine
import Model
import Postgres

/// Declared call graphs by name.
struct TopologyStore: Sendable {
    /// Calls one topology may hold.
    static let callLimit = 100_000
    let pool: PostgresPool

    /// By caller, then callee; empty for an unknown name, since a topology without calls is not kept.
    func calls(of name: String) async throws -> [CallEdge] {
        let rows = try await self.pool.query(
            "SELECT caller, callee FROM topology WHERE name = $1 ORDER BY caller, callee", [.text(name)])
        return try rows.decode((String, String).self).map { CallEdge(caller: $0.0, callee: $0.1) }
    }

    /// Every name with its number of calls.
    func names() async throws -> [(name: String, calls: Int)] {
        let rows = try await self.pool.query(
            "SELECT name, count(*) FROM topology GROUP BY name ORDER BY name LIMIT 1000")
        return try rows.decode((String, Int).self).map { (name: $0.0, calls: $0.1) }
    }

    /// Replaces a topology in one transaction; readers see the old one or the new one.
    func replace(_ name: String, with calls: [CallEdge]) async throws {
        let sorted = calls.sorted()
        try await self.pool.withRetriedTransaction { connection in
            _ = try await connection.pipeline([
                PostgresQuery("SELECT pg_advisory_xact_lock(hashtextextended('topology/' || $1, 0))", [.text(name)]),
                PostgresQuery("DELETE FROM topology WHERE name = $1", [.text(name)]),
                PostgresQuery(
                    """
                    INSERT INTO topology (name, caller, callee)
                    SELECT $1, w.caller, w.callee FROM unnest($2::text[], $3::text[]) AS w(caller, callee)
                    """, [.text(name), .textArray(sorted.map(\.caller)), .textArray(sorted.map(\.callee))]),
            ])
        }
    }
}
