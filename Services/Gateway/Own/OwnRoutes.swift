import Foundation
import HTTPTypes
import HummingbirdCore
import Model
import NIOCore

/// The routes the gateway answers itself.
struct OwnRoutes: Sendable {
    /// One request to such a route.
    struct Call: Sendable {
        let route: APIRoute
        let parameters: [String: String]
        let query: Substring?
        let caller: Caller?
        let body: RequestBody
        let plan: BodyPolicy.Plan
        let exchange: Exchange
    }

    let health: HealthCheck
    let keys: APIKeyRoutes
    /// `openapi.yaml` as JSON.
    let openAPI: [UInt8]

    func answer(_ call: Call) async throws(Problem) -> UpstreamAnswer {
        switch call.route.path {
        case "/livez":
            return try Self.json(Liveness(status: "ok"))
        case "/readyz":
            if let reason = self.health.unreadiness() {
                throw Problem(.unavailable, detail: "The gateway is not ready: \(reason).", retryAfter: 2)
            }
            return try Self.json(Liveness(status: "ok"))
        case "/health":
            return try Self.json(await self.health.report())
        case "/openapi.json":
            return Self.bytes(self.openAPI, mediaType: "application/json", cache: "public, max-age=300")
        case "/problems/{code}":
            return try ProblemPage.answer(code: call.parameters["code"] ?? "")
        case "/v1/keys", "/v1/keys/{id}":
            return try await self.keys.answer(call)
        default:
            throw Problem(.notFound, detail: "There is nothing at this path.")
        }
    }

    private struct Liveness: Encodable { let status: String }

    static func json(_ value: some Encodable, status: Int = 200) throws(Problem) -> UpstreamAnswer {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(value) else {
            throw Problem(.internalError, detail: "The answer cannot be written as JSON.")
        }
        return self.bytes(Array(data), mediaType: "application/json", cache: "no-store", status: status)
    }

    static func bytes(_ bytes: [UInt8], mediaType: String, cache: String, status: Int = 200) -> UpstreamAnswer {
        UpstreamAnswer(
            status: status, fields: [.contentType: mediaType, .cacheControl: cache],
            body: .whole(ByteBuffer(bytes: bytes)), replica: "-")
    }
}
