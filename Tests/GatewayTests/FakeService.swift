import HTTPTypes
import Hummingbird
import Logging
import Model
import NIOCore
import Synchronization

@testable import Gateway

/// A service behind the gateway: answers as told and remembers what it was asked.
final class FakeService: Sendable {
    struct Seen: Sendable {
        let method: String
        let target: String
        let fields: HTTPFields
        let bodyBytes: Int
    }

    typealias Behaviour = @Sendable (Request, Int) async throws -> Response

    private let seenRequests = Mutex<[Seen]>([])
    private let cancellations = Mutex(0)
    private let beginnings = Mutex(0)
    private let readiness = Mutex(true)
    private let isStalled = Mutex(false)
    let name: String

    init(name: String) { self.name = name }

    var seen: [Seen] { self.seenRequests.withLock { $0 } }
    /// Slow requests that have come in.
    var begun: Int { self.beginnings.withLock { $0 } }
    var cancelled: Int { self.cancellations.withLock { $0 } }

    /// What `/readyz` says.
    func setReady(_ isReady: Bool) { self.readiness.withLock { $0 = isReady } }

    /// From now on `/readyz` begins its answer and does not end it.
    func stallReadiness() { self.isStalled.withLock { $0 = true } }

    private struct Responder: HTTPResponder {
        let service: FakeService
        func respond(to request: Request, context: BasicRequestContext) async throws -> Response {
            try await self.service.respond(to: request)
        }
    }

    func application(onRunning: @escaping @Sendable (any Channel) async -> Void) -> some ApplicationProtocol {
        Application(
            responder: Responder(service: self), configuration: .init(address: .hostname("127.0.0.1", port: 0)),
            onServerRunning: onRunning, logger: .quiet)
    }

    private func respond(to request: Request) async throws -> Response {
        if request.uri.path.hasSuffix("/slow") { return try await self.slow(request) }
        if request.uri.path == "/readyz" {
            if self.isStalled.withLock({ $0 }) { return Self.endless() }
            return self.readiness.withLock { $0 } ? Self.json("{}") : Response(status: .serviceUnavailable)
        }
        var count = 0
        for try await piece in request.body { count += piece.readableBytes }
        self.seenRequests.withLock {
            $0.append(
                Seen(
                    method: request.method.rawValue, target: request.head.path ?? "", fields: request.headers,
                    bodyBytes: count))
        }
        switch request.uri.path {
        case "/health":
            return Self.json(
                #"{"status":"HEALTHY","metrics":{"layerFailures":2,"lastSuccessfulBuild":"2026-01-01T00:00:00.000Z"}}"#)
        case "/v1/events/large": return Self.large(bytes: 48 << 20)
        case "/v1/events/bare500": return Response(status: .internalServerError)
        case "/v1/events/refused": return Response(status: .unauthorized)
        case "/v1/events/busy":
            let problem = Problem(.unavailable, detail: "catching up", retryAfter: 3)
            return Response(
                status: .serviceUnavailable,
                headers: [.contentType: "application/problem+json", .retryAfter: "3"],
                body: .init(byteBuffer: ByteBuffer(bytes: ProblemBody.render(problem))))
        case "/v1/events/unchanged": return Response(status: .notModified, headers: [.eTag: "\"e\""])
        case "/v1/events/endless": return Self.endless()
        default:
            return Self.json(#"{"service":"\#(self.name)","bytes":\#(count)}"#)
        }
    }

    private func slow(_ request: Request) async throws -> Response {
        self.beginnings.withLock { $0 += 1 }
        try await request.body.consumeWithCancellationOnInboundClose { _ in
            do {
                try await Task.sleep(for: .seconds(20))
            } catch {
                self.cancellations.withLock { $0 += 1 }
                throw error
            }
        }
        return Self.json("{}")
    }

    static func json(_ text: String) -> Response {
        Response(
            status: .ok,
            headers: [.contentType: "application/json", .connection: "X-Inner", .known("X-Inner"): "1"],
            body: .init(byteBuffer: ByteBuffer(string: text)))
    }

    private static func large(bytes: Int) -> Response {
        Response(
            status: .ok,
            body: ResponseBody { writer in
                let piece = ByteBuffer(repeating: 0x61, count: 64 << 10)
                for _ in 0..<bytes / piece.readableBytes { try await writer.write(piece) }
                try await writer.finish(nil)
            })
    }

    /// A first piece, then silence.
    private static func endless() -> Response {
        Response(
            status: .ok,
            body: ResponseBody { writer in
                try await writer.write(ByteBuffer(string: "begin"))
                try await Task.sleep(for: .seconds(20))
                try await writer.finish(nil)
            })
    }
}

extension Logger {
    static var quiet: Logger { Logger(label: "quiet") { _ in SwiftLogNoOpLogHandler() } }
}
