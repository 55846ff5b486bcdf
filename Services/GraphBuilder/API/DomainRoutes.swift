import Foundation
import Hummingbird
import Model
import Postgres
import ServiceRuntime

/// `GET /v1/domains`, `GET` and `PUT /v1/domains/{id}`.
struct DomainRoutes: Sendable {
    static let bodyLimit = 256 << 10

    let pool: PostgresPool
    let engine: EvaluationEngine
    let counts: ObservationCounts

    func add(to router: Router<CallContext>) {
        router.get("/v1/domains") { request, _ in
            _ = try QueryParameters(request, known: [])
            return try Response.json(ListPage(items: try await self.statuses()))
        }
        router.get("/v1/domains/{id}") { _, context in
            let name = try context.name("id")
            guard let status = try await self.statuses().first(where: { $0.domain == name }) else {
                throw Problem(.notFound, detail: "this domain is not known")
            }
            return try Response.json(status)
        }
        router.put("/v1/domains/{id}") { request, context in
            try await self.declare(context.name("id"), request)
        }
    }

    private func statuses() async throws -> [DomainStatus] {
        let counts = try await self.counts.current()
        return try await self.engine.status().map { status in
            var status = status
            status.observations = counts[status.domain] ?? 0
            return status
        }
    }

    private func declare(_ name: String, _ request: Request) async throws -> Response {
        var profile = try await request.decodeBody(DomainProfile.self, limit: Self.bodyLimit)
        guard profile.domain.isEmpty || profile.domain == name else {
            throw Problem(.invalidRequest, detail: "domain must be left out or equal the one in the path")
        }
        profile.domain = name
        try profile.validate()
        try await self.pool.query(
            """
            INSERT INTO domain_profiles (domain, profile, updated_at) VALUES ($1, $2, clock_timestamp())
            ON CONFLICT (domain) DO UPDATE SET profile = excluded.profile, updated_at = excluded.updated_at
            """, [.text(name), try .jsonb(encoding: profile)])
        return try Response.json(profile)
    }
}
