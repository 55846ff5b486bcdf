import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import NIOCore
import Synchronization

@testable import GraphBuilder

/// A gateway that answers what a test says, over plain HTTP on a port of its own, and remembers what it was asked.
final class FakeGateway: Sendable {
    struct Question: Sendable {
        let method: String
        let path: String
        let headers: HTTPFields
        let body: Data

        func header(_ name: String) -> String? { HTTPField.Name(name).flatMap { self.headers[$0] } }
        var json: [String: Any] { (try? JSONSerialization.jsonObject(with: self.body)) as? [String: Any] ?? [:] }
    }

    struct Answer: Sendable {
        var status = 200
        var body = "{}"
        var retryAfter: String?
    }

    private let asked = Mutex<[Question]>([])
    private let answer: @Sendable (Question) -> Answer

    private init(answer: @escaping @Sendable (Question) -> Answer) { self.answer = answer }

    var questions: [Question] { self.asked.withLock { $0 } }

    private func take(_ question: Question) -> Answer {
        self.asked.withLock { $0.append(question) }
        return self.answer(question)
    }

    /// Runs `body` with a client of the program that talks to this gateway.
    static func with(
        _ answer: @escaping @Sendable (Question) -> Answer,
        _ body: @escaping @Sendable (FakeGateway, GatewayClient) async throws -> Void
    ) async throws {
        let gateway = FakeGateway(answer: answer)
        let router = Router()
        for method in [HTTPRequest.Method.get, .post] {
            router.on("/**", method: method) { request, _ -> Response in
                let data = try await request.body.collect(upTo: 8 << 20)
                let answer = gateway.take(
                    Question(
                        method: method.rawValue, path: request.uri.string, headers: request.headers,
                        body: Data(data.readableBytesView)))
                var headers: HTTPFields = [.contentType: "application/json"]
                if let seconds = answer.retryAfter { headers[.retryAfter] = seconds }
                return Response(
                    status: .init(code: answer.status), headers: headers,
                    body: .init(byteBuffer: ByteBuffer(string: answer.body)))
            }
        }
        try await Application(router: router, configuration: .init(address: .hostname("127.0.0.1", port: 0)))
            .test(.live) { server in
                let connection = ConnectionFile(url: "http://127.0.0.1:\(server.port ?? 0)", apiKey: "secret")
                try await GatewayClient.with(connection) { client in try await body(gateway, client) }
            }
    }
}

/// Files of one test, in a folder that goes with it.
struct ScratchFolder: ~Copyable {
    let path: String

    init() throws {
        self.path = FileManager.default.temporaryDirectory.appending(path: "client-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: self.path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: self.path) }

    func write(_ name: String, _ lines: [String]) throws -> String {
        try self.write(name, Data(lines.map { $0 + "\n" }.joined().utf8))
    }

    func write(_ name: String, _ data: Data) throws -> String {
        let url = URL(fileURLWithPath: self.path + "/" + name)
        try FileManager.default.createDirectory(
            at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try data.write(to: url)
        return url.path
    }
}
