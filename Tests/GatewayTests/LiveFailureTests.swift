import AsyncHTTPClient
import Foundation
import Logging
import Model
import NIOCore
import Postgres
import ServiceLifecycle
import Testing

@testable import Gateway

@Suite("The gateway when things go wrong", .serialized)
struct LiveFailureTests {
    private func setOwner(_ live: LiveGateway, event: String, address: String) async throws {
        try await live.pool.query(
            """
            UPDATE shard_leases SET owner = 'x', owner_address = $2, expires_at = now() + interval '4 minutes'
            WHERE shard = $1
            """, [.shard(Shard(event: event)), .text(address)])
        try await live.gateway.directory.refresh()
    }

    @Test("a request about an event goes to the owner of its shard; when that is gone, once to another")
    func routesByLease() async throws {
        try await LiveGateway.with { live in
            let key = try await live.key()
            let owner = FakeService(name: "owner")
            let ports = Ports()
            let server = Task { try await owner.application { await ports.set("owner", $0) }.run() }
            let port = try await ports.wait("owner")
            try await self.setOwner(live, event: "E 1", address: "http://127.0.0.1:\(port)")
            for target in [
                "/v1/events/E%201", "/v1/correlation-graph?eventId=E%201", "/api/correlation-graph?eventId=E+1",
            ] {
                #expect(try await live.send("GET", target, key: key).text.contains("owner"))
            }
            #expect(try await live.send("GET", "/v1/events", key: key).text.contains("builder"))
            server.cancel()
            _ = await server.result
            let before = live.builder.seen.count
            #expect(try await live.send("GET", "/v1/events/E%201", key: key).text.contains("builder"))
            #expect(live.builder.seen.count == before + 1)
        }
    }

    @Test("errors of services: problems pass, bare ones become 502, a refused caller token is no 401")
    func upstreamErrors() async throws {
        try await LiveGateway.with { live in
            let key = try await live.key()
            let busy = try await live.send("GET", "/v1/events/busy", key: key)
            #expect(busy.status == 503)
            #expect(busy.problem?.detail == "catching up")
            #expect(busy["retry-after"] == "3")
            #expect(try await live.send("GET", "/v1/events/bare500", key: key).problem?.code == .upstreamFailed)
            #expect(try await live.send("GET", "/v1/events/refused", key: key).problem?.code == .upstreamFailed)
            let unchanged = try await live.send("GET", "/v1/events/unchanged", key: key)
            #expect(unchanged.status == 304)
            #expect(unchanged["etag"] == "\"e\"")
            #expect(unchanged["content-length"] == nil)
        }
    }

    @Test("a service that cannot be reached is 503 with a time; one that breaks off is 502")
    func unreachable() async throws {
        try await LiveGateway.with { live in
            let key = try await live.key()
            try await live.pool.query("UPDATE replicas SET address = '127.0.0.1:1' WHERE service = 'graph-builder'")
            try await live.gateway.directory.refresh()
            let answer = try await live.send("GET", "/v1/events", key: key)
            #expect(answer.problem?.code == .unavailable)
            #expect(answer["retry-after"] == "1")
            let sent = try await live.send(
                "POST", "/v1/observations", key: key,
                body: .stream([ByteBuffer(repeating: 0x20, count: 1 << 20)].async, length: .known(Int64(1 << 20))))
            #expect(sent.problem?.code == .unavailable)
            try await live.pool.query("DELETE FROM replicas")
            try await live.gateway.directory.refresh()
            let none = try await live.send("GET", "/v1/events", key: key)
            #expect(none.problem?.code == .unavailable)
            #expect(try await live.send("GET", "/health").text.contains("DEGRADED"))
        }
    }

    @Test("the deadline bounds the whole exchange: head, body of the answer, body of the request")
    func deadlines() async throws {
        try await LiveGateway.with { live in
            let key = try await live.key()
            let clock = ContinuousClock()
            let start = clock.now
            let slow = try await live.send(
                "GET", "/v1/events/slow", key: key, headers: [("X-Request-Timeout-Ms", "300")])
            #expect(slow.problem?.code == .deadlineExceeded)
            #expect(slow.status == 504)
            // The answer has begun, so it can only be cut off.
            await #expect(throws: (any Error).self) {
                try await live.send("GET", "/v1/events/endless", key: key, headers: [("X-Request-Timeout-Ms", "300")])
            }
            #expect(clock.now - start < .seconds(5))
            try await Self.eventually { live.builder.cancelled == 1 }
        }
    }

    @Test("a half-sent body is answered 408 and the connection closed")
    func halfSent() async throws {
        try await LiveGateway.with {
            $0.door.bodyStallMs = 300
        } _: { live in
            let key = try await live.key()
            for (target, length) in [("/v1/observations", 1 << 20), ("/v1/propagation", 1_000)] {
                let (stream, continuation) = AsyncStream<ByteBuffer>.makeStream()
                continuation.yield(ByteBuffer(repeating: 0x20, count: 100))
                let answer = try await live.send(
                    "POST", target, key: key, body: .stream(stream, length: .known(Int64(length))))
                continuation.finish()
                #expect(answer.problem?.code == .requestTimeout)
                #expect(answer["connection"] == "close")
            }
        }
    }

    @Test("hundreds of early refusals of large bodies on one HTTP/2 connection leave room for later uploads")
    func earlyRefusals() async throws {
        try await LiveGateway.with {
            $0.door.bodyStallMs = 3_000
        } _: { live in
            let key = try await live.key()
            func upload() async throws -> Answer {
                try await live.send(
                    "POST", "/v1/observations", key: key,
                    body: .bytes(ByteBuffer(repeating: 0x20, count: 200_000)), http2: true)
            }
            try await live.pool.query("UPDATE replicas SET address = '127.0.0.1:1' WHERE service = 'graph-builder'")
            try await live.gateway.directory.refresh()
            for _ in 0..<600 { #expect(try await upload().status == 503) }
            try await live.pool.query(
                "UPDATE replicas SET address = $1 WHERE service = 'graph-builder'",
                [.text("127.0.0.1:\(live.builderPort)")])
            try await live.gateway.directory.refresh()
            for _ in 0..<10 { #expect(try await upload().status == 200) }
        }
    }

    private typealias Answer = LiveGateway.Answer

    @Test("a client that goes away cancels the work behind the gateway", arguments: [false, true])
    func clientGone(http2: Bool) async throws {
        try await LiveGateway.with { live in
            let key = try await live.key()
            let task = Task { try await live.send("GET", "/v1/events/slow", key: key, http2: http2) }
            try await Self.eventually { live.builder.begun == 1 }
            task.cancel()
            _ = await task.result
            try await Self.eventually { live.builder.cancelled == 1 }
            try await Self.eventually { live.log.access.contains { $0["interruption"] == "clientGone" } }
        }
    }

    @Test("beyond the number of requests it answers at once the gateway refuses at once")
    func overloaded() async throws {
        try await LiveGateway.with {
            $0.door.inFlightLimit = 2
        } _: { live in
            let key = try await live.key()
            let running = (0..<2).map { _ in
                Task {
                    try await live.send(
                        "GET", "/v1/events/slow", key: key, headers: [("X-Request-Timeout-Ms", "1500")])
                }
            }
            try await Self.eventually { live.builder.begun == 2 }
            let refused = try await live.send("GET", "/v1/events", key: key)
            #expect(refused.problem?.code == .overloaded)
            for task in running { #expect(try await task.value.status == 504) }
            #expect(try await live.send("GET", "/v1/events", key: key).status == 200)
        }
    }

    @Test("what is no HTTP gets a problem too, and TLS below 1.2 gets nothing")
    func rawClient() async throws {
        try await LiveGateway.with { live in
            func raw(_ text: String, _ options: [String] = []) throws -> String {
                let process = Process()
                process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
                process.arguments =
                    [
                        "s_client", "-connect", "localhost:\(live.port)", "-CAfile", live.certificate,
                        "-verify_return_error", "-quiet", "-no_ign_eof",
                    ] + options
                let (input, output) = (Pipe(), Pipe())
                process.standardInput = input
                process.standardOutput = output
                process.standardError = FileHandle.nullDevice
                try process.run()
                input.fileHandleForWriting.write(Data(text.utf8))
                let data = output.fileHandleForReading.readDataToEndOfFile()
                process.waitUntilExit()
                return String(decoding: data, as: UTF8.self)
            }
            let garbage = try raw("GET / HTTP/9.9\r\n\r\n")
            #expect(garbage.hasPrefix("HTTP/1.1 400 Bad Request\r\n"))
            #expect(garbage.contains("application/problem+json"))
            let good = try raw("GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", ["-tls1_2"])
            #expect(good.hasPrefix("HTTP/1.1 200"))
            #expect(try raw("", ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]).isEmpty)
            // Two requests in one piece are answered in order.
            let both = try raw(
                "GET /livez HTTP/1.1\r\nHost: a\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            #expect(both.components(separatedBy: "HTTP/1.1 ").map { String($0.prefix(3)) } == ["", "200", "404"])
            // Smuggling: a length and chunks at once.
            let smuggled = try raw(
                "POST /v1/propagation HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            )
            #expect(!smuggled.hasPrefix("HTTP/1.1 2"))
        }
    }

    static func eventually(_ condition: () async throws -> Bool) async throws {
        for _ in 0..<500 {
            if try await condition() { return }
            try await Task.sleep(for: .milliseconds(10))
        }
        Issue.record("the condition did not come true within five seconds")
    }
}
