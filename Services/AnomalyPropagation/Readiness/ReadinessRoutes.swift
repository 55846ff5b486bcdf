import Foundation
import Hummingbird
import Model
import ServiceRuntime

/// `GET /v1/readiness`: what the checks saw, and what of it counts for the system as it runs now.
struct ReadinessRoutes: Sendable {
    let store: ReadinessStore
    /// nil: rows cannot be told from hand-written ones, so none counts.
    let secrets: CallerTokenSecrets?
    let timeout: QueryBound

    func add(to router: Router<CallContext>) {
        router.get("/v1/readiness") { request, _ in
            _ = try QueryParameters(request, known: [])
            return try Response.json(try await self.timeout.bound { try await self.report() })
        }
    }

    func report() async throws -> ReadinessReport {
        let accepted = self.secrets?.accepted ?? []
        let rows = try await self.store.rows().map { row, seal in (row: row, isSealed: row.isSealed(seal, by: accepted))
        }
        return ReadinessReport(
            rows, system: try await self.store.system(),
            now: Timestamp(milliseconds: Int64(Date().timeIntervalSince1970 * 1_000)))
    }
}
