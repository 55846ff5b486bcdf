import Foundation
import NIOCore
import Testing

@testable import Gateway

@Suite("Clients that send one request after the other without waiting", .serialized)
struct LivePipelineTests {
    private static func request(_ target: String) -> String { "GET \(target) HTTP/1.1\r\nHost: localhost\r\n\r\n" }

    private static func answered(_ live: LiveGateway) -> Int { live.log.accessCount }

    /// Sends the requests without reading an answer, until no more of them are answered.
    private static func flood(_ live: LiveGateway, _ requests: String) async throws -> RawConnection {
        let client = try await RawConnection.open(port: live.port, certificate: live.certificate)
        await client.send(Self.request("/livez"))
        try await LiveFailureTests.eventually { client.text.hasSuffix("}") }
        try await client.setReading(false)
        // Not waited for: what the gateway does not read cannot be sent.
        Task { await client.send(requests) }
        var (count, before) = (0, -1)
        while count == 0 || count != before {
            before = count
            try await Task.sleep(for: .milliseconds(500))
            count = Self.answered(live)
        }
        return client
    }

    @Test(
        "who reads no answer gets no more of them, keeps nobody waiting and is cut off",
        arguments: [("/openapi.json", 3_000, 500), ("/livez", 60_000, 30_000)])
    func unread(target: String, sent: Int, most: Int) async throws {
        try await LiveGateway.with {
            $0.door.idleSeconds = 3
            $0.door.peerPolicy = GCRA(burst: 1_000, refillPerSecond: 1_000)
        } _: { live in
            let client = try await Self.flood(live, String(repeating: Self.request(target), count: sent))
            #expect((2..<most).contains(Self.answered(live)))
            #expect(try await live.send("GET", "/v1/events", key: live.key()).status == 200)
            // The idle time, and what the library allows for the end of TLS. The client itself, which does not read, cannot tell.
            let listener = live.gateway.listener
            let deadline = ContinuousClock.now + .seconds(20)
            while listener.connectionCount > 0, ContinuousClock.now < deadline {
                try await Task.sleep(for: .milliseconds(100))
            }
            #expect(listener.connectionCount == 0)
            await client.close()
            #expect(Self.answered(live) < most)
        }
    }

    @Test("who reads in the end, after more than a head may take, gets all answers in order")
    func readLate() async throws {
        try await LiveGateway.with {
            $0.door.peerPolicy = GCRA(burst: 100_000, refillPerSecond: 100_000)
        } _: { live in
            let targets = (0..<600).map { $0 % 3 == 0 ? "/openapi.json" : $0 % 7 == 0 ? "/nowhere" : "/livez" }
            let client = try await Self.flood(live, targets.map(Self.request).joined())
            #expect(Self.answered(live) < targets.count)
            try await Task.sleep(for: .nanoseconds(live.settings.door.headNanoseconds) + .seconds(2))
            try await client.setReading(true)
            try await LiveFailureTests.eventually { Self.answered(live) == targets.count + 1 }
            let size = try await live.send("GET", "/openapi.json").body.count
            var answers: [(status: Int, length: Int)] = []
            try await LiveFailureTests.eventually {
                answers = Self.answers(in: client.bytes)
                return answers.count == targets.count + 1
            }
            for (target, answer) in zip(targets, answers.dropFirst()) {
                #expect(answer.status == (target == "/nowhere" ? 404 : 200))
                #expect((answer.length == size) == (target == "/openapi.json"))
            }
            #expect(client.isOpen)
        }
    }

    @Test("what comes behind a request that ends the connection is not done")
    func behindTheLast() async throws {
        try await LiveGateway.with { live in
            let client = try await RawConnection.open(port: live.port, certificate: live.certificate)
            let last = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            await client.send(last + Self.request("/livez"))
            try await LiveFailureTests.eventually { !client.isOpen }
            // Another request, so that the log has come as far.
            _ = try await live.send("GET", "/readyz")
            try await LiveFailureTests.eventually { live.log.access.contains { $0["route"] == "/readyz" } }
            #expect(live.log.access.count { $0["route"] == "/livez" } == 1)
        }
    }

    /// Status and length of each whole answer.
    private static func answers(in bytes: ByteBuffer) -> [(status: Int, length: Int)] {
        var answers: [(status: Int, length: Int)] = []
        var rest = bytes.readableBytesView
        let end = Array("\r\n\r\n".utf8)
        while let headEnd = rest.prefix(8_192).firstRange(of: end)?.upperBound {
            let head = String(decoding: rest[..<headEnd], as: UTF8.self)
            let line = head.split(separator: "\r\n").first { $0.hasPrefix("content-length: ") }
            guard let length = line.flatMap({ Int($0.dropFirst(16)) }), rest.endIndex - headEnd >= length else { break }
            answers.append((Int(head.dropFirst(9).prefix(3)) ?? 0, length))
            rest = rest[(headEnd + length)...]
        }
        return answers
    }
}
