import AsyncHTTPClient
import Foundation
import Logging
import Model
import NIOCore
import NIOHTTP1
import NIOSSL
import Telemetry
import Testing

@testable import Gateway

@Suite("The edge over TLS", .serialized)
struct LiveEdgeTests {
    @Test("an administrator learns why a request was refused, with what was compared")
    func decisions() async throws {
        try await LiveGateway.with {
            $0.door.callerPolicy = GCRA(burst: 2, refillPerSecond: 0.1)
        } _: { live in
            let key = try await live.key([.read])
            let admin = try await live.key([.admin])
            _ = try await live.send("GET", "/v1/events", key: key)
            let forbidden = try #require(try await live.send("GET", "/v1/keys", key: key).problem)
            let limited = try #require(try await live.send("GET", "/v1/events", key: key).problem)
            #expect(try await live.send("GET", "/v1/decisions/\(limited.traceId ?? "-")", key: key).status == 429)
            func why(_ problem: Problem, _ admin: APIKeyText) async throws -> Decision {
                let answer = try await live.send("GET", "/v1/decisions/\(problem.traceId ?? "-")", key: admin)
                return try JSONDecoder().decode(Decision.self, from: answer.body)
            }
            let first = try await why(limited, admin)
            #expect(first.code == "rate-limited" && first.caller == "caller-\(key.id)" && first.route == "/v1/events")
            #expect(first.compared["limit.burst"] == "2" && first.compared["limit.remaining"] == "0")
            let second = try await why(forbidden, try await live.key([.admin]))
            #expect(second.compared == ["scope.needed": "admin", "scope.given": "read"])
            let unknown = try await live.send(
                "GET", "/v1/decisions/\(String(repeating: "a", count: 32))", key: try await live.key([.admin]))
            #expect(unknown.status == 404)
        }
    }

    @Test("a new certificate serves new connections, old ones go on, a broken file changes nothing")
    func reload() async throws {
        try await LiveGateway.with { live in
            let key = try await live.key()
            #expect(try await live.send("GET", "/v1/events", key: key).status == 200)
            let old = try Data(contentsOf: URL(fileURLWithPath: live.certificate))
            try Data("nothing".utf8).write(to: URL(fileURLWithPath: live.certificate))
            #expect(!live.gateway.certificates.reload())
            try old.write(to: URL(fileURLWithPath: live.certificate))
            #expect(!live.gateway.certificates.reload())
            let pair = try OpenSSL.selfSigned(in: live.folder, name: "server")
            #expect(live.gateway.certificates.reload())
            // The connection that is open stays; a new one sees the new certificate.
            #expect(try await live.send("GET", "/v1/events", key: key).status == 200)
            var tls = TLSConfiguration.makeClientConfiguration()
            tls.trustRoots = .file(pair.certificate)
            let client = HTTPClient(
                eventLoopGroupProvider: .singleton, configuration: .init(tlsConfiguration: tls))
            let answer = try await client.execute(HTTPClientRequest(url: live.base + "/livez"), timeout: .seconds(5))
            #expect(answer.status == .ok)
            try await client.shutdown()
        }
    }

    @Test("the files of the certificate are watched, and a metric tells when the one in force ends")
    func watch() async throws {
        let folder = try OpenSSL.folder()
        defer { try? FileManager.default.removeItem(at: folder) }
        let pair = try OpenSSL.selfSigned(in: folder, name: "server")
        let files = TLSFiles.Pair(certificateFile: pair.certificate, keyFile: pair.key)
        let registry = MetricsRegistry()
        let certificates = try ServerCertificates(
            try files.configuration(), files: files, logger: .quiet, metrics: registry)
        func told() throws -> Double {
            let lines = registry.exposition().split(separator: "\n")
            let line = try #require(lines.first { $0.hasPrefix("gateway_certificate_expiry_timestamp_seconds ") })
            return try #require(line.split(separator: " ").last.flatMap { Double($0) })
        }
        // Two days from now.
        #expect(abs(try told() - Date().timeIntervalSince1970 - 172_800) < 3_600)
        let run = Task { try await certificates.run() }
        _ = try OpenSSL.selfSigned(in: folder, name: "server", days: 9)
        try await LiveFailureTests.eventually { try told() > Date().timeIntervalSince1970 + 8 * 86_400 }
        #expect(abs(try told() - Date().timeIntervalSince1970 - 9 * 86_400) < 3_600)
        run.cancel()
        _ = await run.result
    }

    @Test(
        "a client certificate of a trusted authority is a credential; its name is the caller", arguments: [false, true])
    func clientCertificate(isTrusted: Bool) async throws {
        let folder = try OpenSSL.folder()
        defer { try? FileManager.default.removeItem(at: folder) }
        let own = try OpenSSL.selfSigned(in: folder, name: "client")
        let other = try OpenSSL.selfSigned(in: folder, name: "other")
        try await LiveGateway.with {
            guard let files = $0.tlsFiles else { return }
            let trusting = TLSFiles.Pair(
                certificateFile: files.certificateFile, keyFile: files.keyFile,
                clientAuthorityFile: isTrusted ? own.certificate : other.certificate)
            if let tls = try? trusting.configuration() { $0.tls = tls }
            $0.tlsFiles = trusting
            $0.door.certificateScopes = [.read]
        } _: { live in
            // A key still works, and nothing at all is still 401.
            #expect(try await live.send("GET", "/v1/events", key: try await live.key()).status == 200)
            #expect(try await live.send("GET", "/v1/events").status == 401)
            var tls = TLSConfiguration.makeClientConfiguration()
            tls.trustRoots = .file(live.certificate)
            tls.certificateChain = try NIOSSLCertificate.fromPEMFile(own.certificate).map { .certificate($0) }
            tls.privateKey = .privateKey(try NIOSSLPrivateKey(file: own.key, format: .pem))
            let client = HTTPClient(
                eventLoopGroupProvider: .singleton, configuration: .init(tlsConfiguration: tls))
            do {
                let answer = try await client.execute(
                    HTTPClientRequest(url: live.base + "/v1/events"), timeout: .seconds(3))
                #expect(isTrusted && answer.status == .ok)
                try await LiveFailureTests.eventually {
                    live.log.access.contains { $0["credential"] == "certificate" && $0["caller"] == "localhost" }
                }
            } catch {
                #expect(!isTrusted, "\(error)")
            }
            try await client.shutdown()
        }
    }

    @Test("pages of named origins may read answers and ask before")
    func crossOrigin() async throws {
        try await LiveGateway.with {
            $0.door.crossOrigin = CrossOrigin(origins: ["https://app.example"])
        } _: { live in
            let key = try await live.key()
            let answer = try await live.send(
                "GET", "/v1/events", key: key, headers: [("Origin", "https://app.example")])
            #expect(answer["access-control-allow-origin"] == "https://app.example")
            let other = try await live.send("GET", "/v1/events", key: key, headers: [("Origin", "https://b.example")])
            #expect(other["access-control-allow-origin"] == nil)
            let preflight = try await live.send(
                "OPTIONS", "/v1/domains/any",
                headers: [("Origin", "https://app.example"), ("Access-Control-Request-Method", "PUT")])
            #expect(preflight.status == 204)
            #expect(preflight["access-control-allow-methods"] == "GET, PUT")
            #expect(try await live.send("OPTIONS", "/v1/events").status == 405)
        }
    }

    @Test("a stranger cannot choose its trace, a caller can")
    func traceTrust() async throws {
        try await LiveGateway.with { live in
            let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
            let stranger = try await live.send("GET", "/livez", headers: [("traceparent", parent)])
            #expect(stranger["traceparent"]?.contains("4bf92f3577b34da6a3ce929d0e0e4736") == false)
            let caller = try await live.send(
                "GET", "/v1/events", key: try await live.key(), headers: [("traceparent", parent)])
            #expect(caller["traceparent"]?.contains("4bf92f3577b34da6a3ce929d0e0e4736") == true)
        }
    }
}
