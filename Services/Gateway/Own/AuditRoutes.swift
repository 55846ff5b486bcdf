import Foundation
import Logging
import Model
import Postgres
import ServiceRuntime

/// `GET /v1/audit`: the audit log, newest first.
struct AuditRoutes: Sendable {
    static let pageLimit = 1_000
    static let list = "audit"

    let store: AuditStore
    let logger: Logger

    struct Item: Encodable, Sendable {
        let time: Timestamp
        let lastTime: Timestamp
        let count: Int
        let service: String
        let kind: String
        let actor: String
        let credential: String
        let keyId: String
        let peer: String
        let action: String
        let status: Int
        let code: String
        let traceId: String

        init(_ entry: AuditStore.Entry) {
            let event = entry.row.event
            self.time = event.time
            self.lastTime = entry.row.lastTime
            self.count = entry.row.count
            self.service = entry.service
            self.kind = entry.kind
            self.actor = event.actor
            self.credential = event.credential
            self.keyId = event.keyID
            self.peer = event.peer
            self.action = event.action
            self.status = event.status
            self.code = event.code
            self.traceId = event.traceID
        }
    }

    func answer(_ call: OwnRoutes.Call, now: Timestamp) async throws(Problem) -> OwnAnswer {
        let query = try Query(call.query, now: now)
        do {
            let entries = try await self.store.page(
                from: query.from, to: query.to, before: query.before, limit: query.limit)
            var next: String?
            if entries.count == query.limit, let last = entries.last {
                next =
                    KeysetCursor(
                        list: Self.list, keys: [String(last.row.event.time.milliseconds), String(last.id)]
                    ).text
            }
            return try OwnRoutes.json(ListPage(items: entries.map(Item.init), nextCursor: next))
        } catch let problem as Problem {
            throw problem
        } catch let error as PostgresError {
            throw Problem(error)
        } catch {
            self.logger.error("audit route failed", metadata: ["error": "\(error)"])
            throw Problem(.internalError, detail: "The audit log cannot be read.")
        }
    }

    /// The last day, a hundred entries, unless the query says otherwise.
    struct Query {
        var from: Timestamp
        var to: Timestamp
        var limit: Int
        var before: (time: Timestamp, id: Int64)?

        init(_ text: Substring?, now: Timestamp) throws(Problem) {
            let query = try QueryParameters(query: String(text ?? ""), known: ["from", "to", "limit", "cursor"])
            self.to = try query.time("to") ?? now.advanced(byMilliseconds: 1_000)
            self.from = try query.time("from") ?? self.to.advanced(byMilliseconds: -86_400_000)
            self.limit = try query.integer("limit", in: 1...AuditRoutes.pageLimit, default: 100)
            guard let cursor = query.text("cursor") else { return }
            let keys = try KeysetCursor(cursor, list: AuditRoutes.list, keyCount: 2).keys
            guard let time = Int64(keys[0]).map(Timestamp.init(milliseconds:)), time.isRepresentable,
                let id = Int64(keys[1])
            else { throw Problem(.invalidRequest, detail: "cursor is not one this list has given out") }
            self.before = (time, id)
        }
    }
}
