import Crypto
import Foundation
import Model
import Testing

extension ProcessTests {
    /// The services' own door: whom they believe when somebody reaches them past the gateway.
    @Suite("The door of a service")
    struct ServiceDoorTests {
        /// A route of each service that anybody with the scope `read` may ask.
        private static let reads = ["graph-builder": "/v1/domains", "anomaly-propagation": "/v1/anomalies"]

        /// - Parameters:
        ///   - token: nil sends none.
        private func ask(
            _ service: String, _ method: String = "GET", _ path: String? = nil, token: String?
        ) async throws -> Reply {
            let stack = try await Stack.shared()
            let port = try #require(stack.ports[service]).http
            let path = try #require(path ?? Self.reads[service])
            return try await stack.call(
                method, "http://127.0.0.1:\(port)\(path)", key: nil,
                headers: token.map { [(CallerToken.headerName, $0)] } ?? [])
        }

        private func token(
            _ scopes: Set<Scope> = [.read], validSeconds: Int64 = 60, secret: Data? = nil
        ) async throws -> String {
            let folder = try await Stack.shared().folder
            let own = try Data(contentsOf: URL(fileURLWithPath: folder + "/caller-secret"))
            let now = Int64(Date.now.timeIntervalSince1970 * 1_000)
            return try CallerToken(caller: "tests", scopes: scopes, expiresAtMs: now + validSeconds * 1_000)
                .signed(with: SymmetricKey(data: secret ?? own))
        }

        @Test(
            "a direct call is 401 without a token, with a forged one, one of another secret and an expired one",
            arguments: ["graph-builder", "anomaly-propagation"])
        func unsigned(service: String) async throws {
            // What all of these differ from by one thing each.
            let good = try await self.token()
            #expect(try await self.ask(service, token: good).status == 200)
            let other = try await self.token(secret: Data(repeating: 7, count: 48))
            let old = try await self.token(validSeconds: -1)
            // The payload of a token that may do more, under the signature of one that may do less.
            let more = try await self.token([.read, .ingest, .configure, .admin])
            let mixed = more.prefix { $0 != "." } + good.drop { $0 != "." }
            for token in [nil, "e30.AAAA", String(good.dropLast(2)), other, old, String(mixed)] {
                let reply = try await self.ask(service, token: token)
                #expect(reply.status == 401 && reply.problem?.code == .unauthenticated, "\(reply.text)")
            }
            // Whatever the path, so that nothing can be learnt.
            #expect(try await self.ask(service, "GET", "/v1/nothing", token: nil).status == 401)
            #expect(try await self.ask(service, "DELETE", token: nil).status == 401)
        }

        @Test(
            "a token without the scope is 403, a wrong method 405 with the right ones, an unknown path 404",
            arguments: ["graph-builder", "anomaly-propagation"])
        func believed(service: String) async throws {
            let forbidden = try await self.ask(service, token: try await self.token([.ingest]))
            #expect(forbidden.status == 403 && forbidden.problem?.code == .forbidden, "\(forbidden.text)")
            let token = try await self.token()
            let wrong = try await self.ask(service, "DELETE", token: token)
            #expect(wrong.status == 405 && wrong.problem?.code == .methodNotAllowed, "\(wrong.status) \(wrong.text)")
            #expect(wrong.header("allow") == "GET")
            let unknown = try await self.ask(service, "GET", "/v1/nothing", token: token)
            #expect(unknown.status == 404 && unknown.problem?.code == .notFound, "\(unknown.text)")
        }
    }
}
