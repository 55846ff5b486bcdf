import Engine
import Model
import Postgres

/// What is declared and known about domains and their nodes.
struct DomainStore: Sendable {
    let pool: PostgresPool

    /// Declared profiles by domain.
    func profiles() async throws -> [String: DomainProfile] {
        let rows = try await self.pool.query("SELECT domain, profile FROM domain_profiles")
        var profiles: [String: DomainProfile] = [:]
        for (domain, profile) in try rows.decode((String, PostgresJSON<DomainProfile>).self) {
            profiles[domain] = profile.value
        }
        return profiles
    }

    /// Domains that have nodes, in order; at most `limit`.
    func domains(limit: Int) async throws -> [String] {
        try await self.pool.query("SELECT DISTINCT domain FROM nodes ORDER BY domain LIMIT $1", [.int(limit)])
            .column(String.self)
    }

    /// Nodes of the given domains; at most `limit`.
    func nodes(inDomains domains: [String], limit: Int) async throws -> [NodeKey] {
        let rows = try await self.pool.query(
            """
            SELECT domain, event_id, market, venue FROM nodes WHERE domain = ANY($1)
            ORDER BY event_id, market, venue, domain LIMIT $2
            """, [.textArray(domains), .int(limit)])
        return try rows.decode((String, String, String, String).self).map {
            NodeKey(domain: $0.0, event: $0.1, market: $0.2, venue: $0.3)
        }
    }

    func isKnown(_ node: NodeKey) async throws -> Bool {
        let rows = try await self.pool.query(
            "SELECT 1 FROM nodes WHERE shard = $1 AND node_id = $2", [.shard(Shard(event: node.event)), .node(node.id)])
        return !rows.isEmpty
    }

    /// Bucket width of the newest evaluation of each domain.
    func bucketWidths(of domains: [String]) async throws -> [String: Int64] {
        let rows = try await self.pool.query(
            """
            SELECT DISTINCT ON (domain) domain, bucket_ms FROM evaluations WHERE domain = ANY($1)
            ORDER BY domain, window_end DESC
            """, [.textArray(domains)])
        return Dictionary(uniqueKeysWithValues: try rows.decode((String, Int64).self))
    }
}
