import Engine
import Foundation
import HTTPTypes
import Hummingbird
import Model
import Postgres
import ServiceRuntime
import Synchronization

/// `GET /v1/events/{id}/changes` and `GET /v1/graphs/diff`.
struct ChangeRoutes: Sendable {
    static let limits = 1...500
    /// Steps of one request; a page that ends before its limit goes on behind its cursor.
    static let steps = 8
    private static let list = "changes"

    let pool: PostgresPool
    let bound: QueryBound
    /// nil: memory is not looked at.
    var memory: MemoryWatch?
    /// Questions about changes at work: each evaluates an event some thirty times.
    let admission = ChangeAdmission(limit: 2)

    func add(to router: Router<CallContext>) {
        router.get("/v1/events/{id}/changes") { request, context in
            try await self.changes(context.name("id"), request)
        }
        router.get("/v1/graphs/diff") { request, _ in try await self.difference(request) }
    }

    // MARK: Changes

    private func changes(_ event: String, _ request: Request) async throws -> Response {
        let query = try QueryParameters(request, known: ["since", "kind", "layer", "limit", "cursor"])
        let since = try ChangesSince(query.given("since"))
        let kind = try query.choice("kind", EdgeChange.Kind.self)
        let layer = try query.layer("layer")
        let limit = try query.integer("limit", in: Self.limits, default: 50)
        var position = try query.text("cursor").map { try Self.position($0) }
        return try await self.admission.admit {
            let (revision, floors) = try await self.floors(event, since)
            if let memory = self.memory, memory.isShedding {
                throw Problem(
                    .memoryLimitExceeded, detail: "Changes are not computed at present: memory is at its ceiling.",
                    retryAfter: 5)
            }
            let reader = ChangeReader(pool: self.pool)
            let cache = try await reader.open()
            guard cache.domains.values.contains(where: { $0.nodes.contains { $0.key.event == event } }) else {
                throw Problem(.notFound, detail: "this event is not known")
            }
            let start = floors.start(of: cache.domains.keys)
            var time = max(
                position.map { $0.key.isEmpty ? $0.time : $0.time.advanced(byMilliseconds: -1) } ?? start, start)
            var items: [ChangeReader.Item] = []
            var isComplete = false
            for _ in 0..<Self.steps where items.count <= limit {
                guard let step = try await reader.step(event, after: time, in: cache) else {
                    isComplete = true
                    break
                }
                items += step.items.filter { item in
                    (position.map { $0 < item.position } ?? true)
                        && item.change.windowEnd > floors.floor(of: item.domain)
                        && (kind == nil || item.change.kind == kind) && (layer == nil || item.change.layer == layer)
                }
                time = step.through
                isComplete = !step.goesOn
                if isComplete { break }
            }
            var page = ListPage(items: items.prefix(limit).map(ChangeItem.init))
            if items.count > limit {
                position = items[limit - 1].position
                page.nextCursor = position.map(Self.cursor)
            } else if !isComplete {
                page.nextCursor = Self.cursor(ChangeReader.Position(time: time, key: ""))
            }
            var response = try Response.json(page)
            if let name = GraphRoutes.revisionHeader { response.headers[name] = String(revision) }
            return response
        }
    }

    private static func cursor(_ position: ChangeReader.Position) -> String {
        KeysetCursor(list: Self.list, keys: [String(position.time.milliseconds), position.key]).text
    }

    private static func position(_ cursor: String) throws -> ChangeReader.Position {
        let keys = try KeysetCursor(cursor, list: Self.list, keyCount: 2).keys
        guard let time = Int64(keys[0]).map(Timestamp.init(milliseconds:)), time.isRepresentable else {
            throw Problem(.invalidRequest, detail: "cursor is not one this list has given out")
        }
        return ChangeReader.Position(time: time, key: keys[1])
    }

    /// Where the answer begins, by domain, and the revision it is made at.
    private func floors(_ event: String, _ since: ChangesSince) async throws -> (revision: Int64, ChangeFloors) {
        let shard = Shard(event: event)
        let revision =
            try await self.bound.bound {
                try await self.pool.query("SELECT revision FROM shard_leases WHERE shard = $1", [.shard(shard)])
            }.column(Int64.self).first ?? 0
        switch since {
        case .beginning: return (revision, ChangeFloors())
        case .time(let time): return (revision, ChangeFloors(common: time))
        case .revision(let revisionSeen):
            let rows = try await self.bound.bound {
                try await self.pool.query(
                    "SELECT domain, max(window_end) FROM evaluations WHERE shard = $1 AND revision <= $2 GROUP BY domain",
                    [.shard(shard), .int64(revisionSeen)])
            }.map { try $0.decode((String, Timestamp).self) }
            return (revision, ChangeFloors(byDomain: Dictionary(rows) { first, _ in first }))
        }
    }

    // MARK: Difference

    private func difference(_ request: Request) async throws -> Response {
        let query = try QueryParameters(request, known: ["from", "to"])
        func stored(_ name: String) async throws -> GraphHistory.Stored {
            guard let id = query.text(name), GraphHistory.isID(id) else {
                throw Problem(.invalidRequest, detail: "\(name) must be a graph id: 64 lower-case hexadecimal digits")
            }
            guard let graph = try await GraphHistory(pool: self.pool).graph(id) else {
                throw Problem(.notFound, detail: "no graph with the id of \(name) is kept")
            }
            return graph
        }
        let (from, to) = try await self.bound.bound { (try await stored("from"), try await stored("to")) }
        guard from.event == to.event else {
            throw Problem(.invalidRequest, detail: "from and to must be graphs of one event")
        }
        return try Response.json(DifferenceDocument(from, to))
    }
}

/// `since` of a question: RFC 3339, or the revision an earlier answer had.
enum ChangesSince: Hashable, Sendable {
    case beginning
    case time(Timestamp)
    case revision(Int64)

    init(_ text: String?) throws(Problem) {
        guard let text else {
            self = .beginning
            return
        }
        if let revision = Int64(text), revision >= 0 {
            self = .revision(revision)
        } else if let time = Timestamp(rfc3339: text), time.isRepresentable {
            self = .time(time)
        } else {
            throw Problem(.invalidRequest, detail: "since must be an RFC 3339 date-time or a revision, 0 or more")
        }
    }
}

/// The time after which changes are told.
struct ChangeFloors: Sendable {
    var common = Timestamp.earliest
    var byDomain: [String: Timestamp] = [:]

    func floor(of domain: String) -> Timestamp { self.byDomain[domain] ?? self.common }

    /// The earliest of all: every domain counts that has none of its own.
    func start(of domains: some Sequence<String>) -> Timestamp {
        domains.map { self.floor(of: $0) }.min() ?? self.common
    }
}

/// Lets only so many questions work at a time; the next one is told to come back.
final class ChangeAdmission: Sendable {
    private let limit: Int
    private let atWork = Mutex(0)

    init(limit: Int) { self.limit = limit }

    func admit<Answer>(_ body: () async throws -> Answer) async throws -> Answer {
        let isAdmitted = self.atWork.withLock { count in
            guard count < self.limit else { return false }
            count += 1
            return true
        }
        guard isAdmitted else {
            throw Problem(
                .overloaded, detail: "\(self.limit) questions about changes are at work already", retryAfter: 1)
        }
        defer { self.atWork.withLock { $0 -= 1 } }
        return try await body()
    }
}
