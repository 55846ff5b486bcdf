import Foundation
import Logging
import Model
import NIOCore
import Postgres
import Telemetry

/// `GET` and `POST /v1/keys`, `DELETE /v1/keys/{id}`, `POST /v1/keys/{id}/rotate`.
struct APIKeyRoutes: Sendable {
    let store: APIKeyStore
    let authority: APIKeyAuthority
    let logger: Logger

    /// A key as an administrator sees it: never its secret or hash.
    struct Item: Codable, Hashable, Sendable {
        let id: String
        let caller: String
        let scopes: [Scope]
        let createdAt: Timestamp
        let expiresAt: Timestamp?
        let revokedAt: Timestamp?
        /// The whole key; only in the answer that made it.
        var key: String?

        init(_ record: APIKeyRecord, key: String? = nil) {
            self.id = record.id
            self.caller = record.caller
            self.scopes = record.scopes.sorted { $0.rawValue < $1.rawValue }
            self.createdAt = record.createdAt
            self.expiresAt = record.expiresAt
            self.revokedAt = record.revokedAt
            self.key = key
        }
    }

    struct Page: Codable, Hashable, Sendable {
        let items: [Item]
        let nextCursor: String?
    }

    /// The body of `POST /v1/keys`.
    struct Request: Decodable {
        let caller: String
        let scopes: [String]
        let expiresInDays: Int?
    }

    func answer(_ call: OwnRoutes.Call) async throws(Problem) -> OwnAnswer {
        do {
            switch call.route.method {
            case .get: return try await self.list(call)
            case .post where call.parameters["id"] != nil: return try await self.rotate(call)
            case .post: return try await self.create(call)
            default: return try await self.revoke(call)
            }
        } catch let problem as Problem {
            throw problem
        } catch let error as PostgresError {
            throw Problem(error)
        } catch let error as ValidationError {
            throw Problem(error)
        } catch {
            self.logger.error("key route failed", metadata: ["error": "\(error)"])
            throw Problem(.internalError, detail: "The key table cannot be used.")
        }
    }

    private func list(_ call: OwnRoutes.Call) async throws -> OwnAnswer {
        var cursor = ""
        var limit = 100
        for pair in call.query?.split(separator: "&", maxSplits: 16) ?? [] {
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            switch (parts.first, parts.last) {
            case ("cursor", let value?) where value.utf8.count <= 64: cursor = value
            case ("limit", let value?):
                guard let number = Int(value), (1...APIKeyStore.listLimit).contains(number) else {
                    throw ValidationError(field: "limit", rule: "must be 1 to \(APIKeyStore.listLimit)")
                }
                limit = number
            default: throw Problem(.invalidRequest, detail: "The query may have cursor and limit.")
            }
        }
        let records = try await self.store.list(after: cursor, limit: limit)
        return try OwnRoutes.json(
            Page(items: records.map { Item($0) }, nextCursor: records.count == limit ? records.last?.id : nil))
    }

    private func create(_ call: OwnRoutes.Call) async throws -> OwnAnswer {
        guard let body = call.body else {
            throw Problem(.malformedBody, detail: "Send a JSON object with caller and scopes.")
        }
        guard let request = try? JSONDecoder().decode(Request.self, from: Data(body.readableBytesView)) else {
            throw Problem(
                .malformedBody, detail: "Send a JSON object with caller (text), scopes (texts) and maybe expiresInDays."
            )
        }
        let wanted = try NewAPIKey(
            caller: request.caller, scopes: request.scopes, expiresInDays: request.expiresInDays)
        let key = APIKeyText.random()
        let record = try await self.store.insert(
            key, for: wanted, now: Timestamp(milliseconds: WallClock.milliseconds()))
        self.authority.forget(id: key.id)
        self.logger.notice(
            "API key made",
            metadata: ["keyId": "\(key.id)", "for": "\(wanted.caller)", "by": "\(call.caller?.name ?? "-")"])
        var answer = try OwnRoutes.json(Item(record, key: key.text), status: 201)
        answer.fields.append(("location", "/v1/keys/\(key.id)"))
        return answer
    }

    /// The body of `POST /v1/keys/{id}/rotate`; none: all as usual.
    struct Rotation: Decodable {
        var graceSeconds: Int?
        var expiresInDays: Int?
    }

    private func rotate(_ call: OwnRoutes.Call) async throws -> OwnAnswer {
        var rotation = Rotation()
        if let body = call.body, body.readableBytes > 0 {
            guard let read = try? JSONDecoder().decode(Rotation.self, from: Data(body.readableBytesView)) else {
                throw Problem(
                    .malformedBody, detail: "Send a JSON object with maybe graceSeconds and expiresInDays, or no body.")
            }
            rotation = read
        }
        let wanted = try KeyRotation(graceSeconds: rotation.graceSeconds, expiresInDays: rotation.expiresInDays)
        let id = call.parameters["id"] ?? ""
        let key = APIKeyText.random()
        guard id.utf8.count == APIKeyText.idLength, let record = try await self.store.rotate(id: id, to: key, wanted)
        else {
            throw Problem(.notFound, detail: "There is no valid API key with this id.")
        }
        self.authority.forget(id: id)
        self.authority.forget(id: key.id)
        self.logger.notice(
            "API key replaced",
            metadata: ["keyId": "\(id)", "by": "\(call.caller?.name ?? "-")", "newKeyId": "\(key.id)"])
        var answer = try OwnRoutes.json(Item(record, key: key.text), status: 201)
        answer.fields.append(("location", "/v1/keys/\(key.id)"))
        return answer
    }

    private func revoke(_ call: OwnRoutes.Call) async throws -> OwnAnswer {
        let id = call.parameters["id"] ?? ""
        guard id.utf8.count == APIKeyText.idLength, try await self.store.revoke(id: id) else {
            throw Problem(.notFound, detail: "There is no API key with this id.")
        }
        self.authority.forget(id: id)
        self.logger.notice("API key revoked", metadata: ["keyId": "\(id)", "by": "\(call.caller?.name ?? "-")"])
        return OwnAnswer(status: 204, fields: [], body: ByteBuffer())
    }
}
