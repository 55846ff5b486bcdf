import AsyncHTTPClient
import Foundation
import Logging
import Model
import NIOCore
import NIOHTTP1
import Postgres
import ServiceLifecycle
import ServiceRuntime
import Telemetry
import TestSupport
import Testing

@testable import Gateway

@Suite("Routes the gateway answers itself", .serialized)
struct OwnRouteTests {
    @Test("keys are made, shown once, used, listed without secrets and revoked, over HTTP")
    func keys() async throws {
        try await LiveGateway.with { live in
            let admin = try await live.key([.admin])
            let made = try await live.send(
                "POST", "/v1/keys", key: admin,
                body: .bytes(ByteBuffer(string: #"{"caller":"robot","scopes":["read"],"expiresInDays":2}"#)))
            #expect(made.status == 201)
            let item = try JSONDecoder().decode(APIKeyRoutes.Item.self, from: made.body)
            let key = try #require(item.key.flatMap(APIKeyText.init))
            #expect(made["location"] == "/v1/keys/\(key.id)")
            #expect(made["cache-control"] == "no-store")
            #expect(item.expiresAt != nil)
            #expect(try await live.send("GET", "/v1/events", key: key).status == 200)
            let listed = try await live.send("GET", "/v1/keys?limit=1000", key: admin)
            #expect(listed.text.contains(key.id))
            #expect(!listed.text.contains(key.secret))
            let page = try JSONDecoder().decode(APIKeyRoutes.Page.self, from: listed.body)
            #expect(page.items.count == 2)
            let first = try await live.send("GET", "/v1/keys?limit=1", key: admin)
            let cursor = try #require(JSONDecoder().decode(APIKeyRoutes.Page.self, from: first.body).nextCursor)
            let second = try await live.send("GET", "/v1/keys?limit=1&cursor=\(cursor)", key: admin)
            #expect(try JSONDecoder().decode(APIKeyRoutes.Page.self, from: second.body).items.first == page.items[1])
            #expect(try await live.send("DELETE", "/v1/keys/\(key.id)", key: admin).status == 204)
            #expect(try await live.send("GET", "/v1/events", key: key).status == 401)
            #expect(try await live.send("DELETE", "/v1/keys/0123456789abcdef", key: admin).status == 404)
            #expect(!live.log.text.contains(key.secret))
        }
    }

    @Test("a key is replaced by another of the same caller: both work during the grace, then only the new one")
    func rotation() async throws {
        try await LiveGateway.with { live in
            let admin = try await live.key([.admin])
            let old = try await live.key([.read])
            #expect(try await live.send("GET", "/v1/events", key: old).status == 200)
            func rotate(_ key: APIKeyText, _ body: String?) async throws -> LiveGateway.Answer {
                try await live.send(
                    "POST", "/v1/keys/\(key.id)/rotate", key: admin, body: body.map { .bytes(ByteBuffer(string: $0)) })
            }
            func made(_ answer: LiveGateway.Answer) throws -> (item: APIKeyRoutes.Item, key: APIKeyText) {
                let item = try JSONDecoder().decode(APIKeyRoutes.Item.self, from: answer.body)
                return (item, try #require(item.key.flatMap(APIKeyText.init)))
            }
            let first = try made(await rotate(old, nil))
            #expect(first.item.caller == "caller-\(old.id)" && first.item.scopes == [.read])
            #expect(try await live.send("GET", "/v1/events", key: old).status == 200)
            #expect(try await live.send("GET", "/v1/events", key: first.key).status == 200)
            // The old one had a day to live, and so has the new one.
            let days =
                Double((first.item.expiresAt?.milliseconds ?? 0) - first.item.createdAt.milliseconds) / 86_400_000
            #expect(abs(days - 1) < 0.001)
            let second = try made(await rotate(first.key, #"{"graceSeconds":0,"expiresInDays":30}"#))
            #expect(try await live.send("GET", "/v1/events", key: first.key).status == 401)
            #expect(try await live.send("GET", "/v1/events", key: second.key).status == 200)
            // One that has ended has no successor; nor has one that never was.
            #expect(try await rotate(first.key, nil).status == 404)
            #expect(try await rotate(APIKeyText.random(), nil).status == 404)
            for bad in [
                #"{"graceSeconds":-1}"#, #"{"graceSeconds":2592001}"#, #"{"expiresInDays":0}"#, "[",
                #"{"graceSeconds":"1"}"#,
            ] {
                #expect(try await rotate(second.key, bad).status == 400)
            }
            #expect(try await live.send("GET", "/v1/events", key: second.key).status == 200)
            #expect(!live.log.text.contains(second.key.secret))
        }
    }

    @Test("the audit log tells an administrator who was refused and who changed what, and nobody else")
    func audit() async throws {
        try await LiveGateway.with {
            $0.door.callerPolicy = GCRA(burst: 3, refillPerSecond: 0.01)
        } _: { live in
            let admin = try await live.key([.admin])
            let reader = try await live.key([.read])
            for _ in 0..<20 { _ = try await live.send("GET", "/v1/events", key: reader) }
            let other = try await live.key([.read, .configure])
            #expect(try await live.send("GET", "/v1/audit", key: other).status == 403)
            let changed = try await live.send(
                "PUT", "/v1/domains/metrics", key: other, body: .bytes(ByteBuffer(string: #"{"domain":"metrics"}"#)))
            #expect(changed.status == 200)
            #expect(try await live.send("DELETE", "/v1/keys/0123456789abcdef", key: admin).status == 404)
            let group = ServiceGroup(services: [live.gateway.audit], logger: Logger(label: "group"))
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                tasks.addTask { try await group.run() }
                await group.triggerGracefulShutdown()
                try await tasks.waitForAll()
            }
            let answer = try await live.send("GET", "/v1/audit?limit=1000", key: admin)
            #expect(answer.status == 200)
            let items = try JSONDecoder().decode(Items.self, from: answer.body).items
            let limited = items.filter { $0.actor == "caller-\(reader.id)" }
            #expect(limited.allSatisfy { $0.kind == "refusal" && $0.code == "rate-limited" && $0.status == 429 })
            #expect(limited.map(\.count).sorted() == [1, 16])
            let own = items.filter { $0.actor == "caller-\(other.id)" }
            #expect(
                Set(own.map { "\($0.kind) \($0.action) \($0.status)" }) == [
                    "refusal GET /v1/audit 403", "change PUT /v1/domains/{id} 200",
                ])
            #expect(items.contains { $0.kind == "security" && $0.action == "DELETE /v1/keys/{id}" && $0.status == 404 })
            #expect(!items.contains { $0.kind == "request" })
            let secrets = [admin, reader, other].map(\.secret)
            #expect(!secrets.contains { answer.text.contains($0) })
            for bad in ["limit=0", "from=x", "cursor=x", "other=1", "to="] {
                #expect(try await live.send("GET", "/v1/audit?\(bad)", key: try await live.key([.admin])).status == 400)
            }
        }
    }

    private struct Items: Decodable {
        struct Item: Decodable {
            let actor: String
            let kind: String
            let action: String
            let status: Int
            let code: String
            let count: Int
        }
        let items: [Item]
    }

    @Test(
        "with a port for administrators their routes are there and nowhere else, and only reads unless writes are on",
        arguments: [false, true])
    func adminPort(hasWrites: Bool) async throws {
        let port = try FreePort.find()
        try await LiveGateway.with {
            $0.door.adminPort = port
            $0.door.hasAdminWrites = hasWrites
        } _: { live in
            let admin = try await live.key([.admin])
            let reader = try await live.key([.read])
            func ask(_ method: String, _ path: String, _ key: APIKeyText) async throws -> Int {
                var request = HTTPClientRequest(url: "http://127.0.0.1:\(port)\(path)")
                request.method = .init(rawValue: method)
                request.headers.add(name: "X-API-Key", value: key.text)
                return Int(try await live.http1.execute(request, timeout: .seconds(10)).status.code)
            }
            #expect(try await live.send("GET", "/v1/keys", key: admin).status == 404)
            #expect(try await live.send("GET", "/v1/events", key: reader).status == 200)
            #expect(try await ask("GET", "/v1/keys", admin) == 200)
            #expect(try await ask("GET", "/v1/keys", reader) == 403)
            #expect(try await ask("GET", "/v1/events", reader) == 404)
            #expect(try await ask("GET", "/livez", reader) == 404)
            #expect(try await ask("DELETE", "/v1/keys/\(reader.id)", admin) == (hasWrites ? 204 : 403))
        }
    }

    @Test(
        "a key that breaks a rule is not made",
        arguments: [
            "", "[]", "{", #"{"caller":"a"}"#, #"{"caller":"","scopes":["read"]}"#, #"{"caller":"a","scopes":[]}"#,
            #"{"caller":"a","scopes":["root"]}"#, #"{"caller":"a\n","scopes":["read"]}"#,
            #"{"caller":"a","scopes":["read"],"expiresInDays":0}"#, #"{"caller":"a","scopes":"read"}"#,
        ])
    func badKeys(body: String) async throws {
        try await LiveGateway.with { live in
            let admin = try await live.key([.admin])
            let answer = try await live.send(
                "POST", "/v1/keys", key: admin, body: .bytes(ByteBuffer(string: body)))
            #expect(answer.status == 400)
            #expect(answer.problem != nil)
            #expect(try await APIKeyStore(pool: live.pool).list().count == 1)
        }
    }

    @Test("health tells how the whole is, the document and the problem pages are open to everyone")
    func open() async throws {
        try await LiveGateway.with { live in
            #expect(try await live.send("GET", "/livez").status == 200)
            #expect(try await live.send("GET", "/readyz").status == 200)
            let health = try JSONDecoder().decode(
                HealthCheck.Report.self, from: try await live.send("GET", "/health").body)
            #expect(health.status == .healthy)
            #expect(health.services["graph-builder"]?.ready == 1)
            #expect(health.metrics.layerFailures == 4)
            #expect(health.metrics.lastSuccessfulBuild == "2026-01-01T00:00:00.000Z")
            #expect(health.metrics.dbLatency != nil)
            let document = try await live.send("GET", "/openapi.json", http2: true)
            #expect(document["content-type"] == "application/json")
            let tree = try #require(StrictJSON.parse(Array(document.body))?.fields)
            #expect(tree["openapi"]?.text == "3.1.0")
            for code in Problem.Code.allCases {
                let page = try await live.send("GET", "/problems/\(code.rawValue)")
                #expect(page.status == 200)
                #expect(page.text.contains(code.title))
            }
            #expect(try await live.send("GET", "/problems/nothing").problem?.code == .notFound)
        }
    }

    @Test("the YAML of the document becomes the same values as JSON")
    func yamlToJSON() throws {
        let yaml = """
            openapi: 3.1.0
            info: {title: "a \\"b\\"", version: '1.0', x: 1.0, y: true, z: null, n: -3, o: 017, t: yes}
            list:
              - text: |
                  two
                  lines
              - 200
            responses: {200: &r {ok: true}, default: *r}
            """
        let text = String(decoding: try OpenAPIDocument.json(yaml: Array(yaml.utf8)), as: UTF8.self)
        #expect(
            text
                == #"{"openapi":"3.1.0","info":{"title":"a \"b\"","version":"1.0","x":1.0,"y":true,"z":null,"n":-3,"o":"017","#
                + #""t":"yes"},"list":[{"text":"two\nlines\n"},200],"responses":{"200":{"ok":true},"default":{"ok":true}}}"#
        )
    }

    @Test("while the database is away known keys work, unknown ones are told to come back, and health says so")
    func databaseAway() async throws {
        let cluster = try TestCluster.start()
        defer {
            try? cluster.stopServer()
            cluster.remove()
        }
        let configuration = try PostgresConfiguration(
            connectionString: "host=\(cluster.socketFolder) dbname=postgres user=undercurrent",
            pool: .init(minimum: 0, maximum: 2, leaseTimeout: .seconds(1)), connectTimeout: .seconds(1))
        _ = try await Migrator(logger: .quiet).migrate(configuration)
        try await PostgresPool.withPool(configuration, logger: .quiet) { pool in
            let store = APIKeyStore(pool: pool)
            let authority = APIKeyAuthority(lookup: store)
            let key = APIKeyText.random()
            _ = try await store.insert(
                key, for: NewAPIKey(caller: "c", scopes: ["read"], expiresInDays: nil), now: Timestamp(milliseconds: 0))
            let now = Timestamp(milliseconds: WallClock.milliseconds())
            #expect(try await authority.caller(presenting: key, wallClock: now).name == "c")
            try cluster.stopServer(immediately: false)
            #expect(try await authority.caller(presenting: key, wallClock: now).name == "c")
            let error = await #expect(throws: Problem.self) {
                try await authority.caller(presenting: .random(), wallClock: now)
            }
            #expect(error?.status == 503)
            #expect(error?.retryAfter == 1)
            try cluster.startServer()
            try await LiveFailureTests.eventually {
                do { return try await store.find(id: "x") == nil } catch { return false }
            }
            let unknown = await #expect(throws: Problem.self) {
                try await authority.caller(presenting: .random(), wallClock: now)
            }
            #expect(unknown?.status == 401)
        }
    }
}
