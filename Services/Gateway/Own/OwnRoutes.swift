import Foundation
import Model
import NIOCore
import Telemetry

/// An answer of the gateway itself.
struct OwnAnswer: Sendable {
    var status: Int
    /// Names in lower case.
    var fields: [(String, String)]
    var body: ByteBuffer
}

/// The routes the gateway answers itself.
struct OwnRoutes: Sendable {
    /// One request to such a route.
    struct Call: Sendable {
        let route: APIRoute
        let parameters: [String: String]
        let query: Substring?
        let caller: Caller?
        /// Whole; nil: none was sent.
        let body: ByteBuffer?
    }

    let health: HealthCheck
    let keys: APIKeyRoutes
    let decisions: DecisionLog
    let audit: AuditRoutes
    /// `openapi.yaml` as JSON.
    let openAPI: [UInt8]

    /// The answer when nothing must be waited for, so that probes are answered whatever the rest is busy with.
    func immediateAnswer(_ call: Call) -> Result<OwnAnswer, Problem>? {
        do throws(Problem) {
            switch call.route.path {
            case "/livez":
                return .success(try Self.json(Liveness(status: "ok")))
            case "/readyz":
                if let reason = self.health.unreadiness() {
                    throw Problem(.unavailable, detail: "The gateway is not ready: \(reason).", retryAfter: 2)
                }
                return .success(try Self.json(Liveness(status: "ok")))
            case "/openapi.json":
                return .success(
                    Self.bytes(self.openAPI, mediaType: "application/json", cache: "public, max-age=300"))
            case "/problems/{code}":
                return .success(try ProblemPage.answer(code: call.parameters["code"] ?? ""))
            case "/v1/decisions/{traceId}":
                guard let decision = self.decisions.find(call.parameters["traceId"] ?? "") else {
                    throw Problem(
                        .notFound, detail: "This instance remembers no refusal of this trace.")
                }
                return .success(try Self.json(decision))
            default: return nil
            }
        } catch {
            return .failure(error)
        }
    }

    func answer(_ call: Call) async throws(Problem) -> OwnAnswer {
        switch call.route.path {
        case "/health":
            return try Self.json(await self.health.report())
        case "/v1/audit":
            return try await self.audit.answer(call, now: Timestamp(milliseconds: WallClock.milliseconds()))
        case "/v1/keys", "/v1/keys/{id}", "/v1/keys/{id}/rotate":
            return try await self.keys.answer(call)
        default:
            throw Problem(.notFound, detail: "There is nothing at this path.")
        }
    }

    private struct Liveness: Encodable { let status: String }

    static func json(_ value: some Encodable, status: Int = 200) throws(Problem) -> OwnAnswer {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(value) else {
            throw Problem(.internalError, detail: "The answer cannot be written as JSON.")
        }
        return self.bytes(Array(data), mediaType: "application/json", cache: "no-store", status: status)
    }

    static func bytes(_ bytes: [UInt8], mediaType: String, cache: String, status: Int = 200) -> OwnAnswer {
        OwnAnswer(
            status: status, fields: [("content-type", mediaType), ("cache-control", cache)],
            body: ByteBuffer(bytes: bytes))
    }
}
