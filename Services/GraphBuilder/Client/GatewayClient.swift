import AsyncHTTPClient
import Foundation
import Model
import NIOCore
import NIOHTTP1
import NIOSSL

/// The public API as its clients see it: HTTPS to the gateway with one API key, verified certificates, bounded retries.
struct GatewayClient: Sendable {
    /// Attempts of one request, the first included.
    static let attemptLimit = 10
    /// Longest answer read into memory.
    static let answerLimit = 64 << 20

    struct Answer: Sendable {
        let status: Int
        let retryAfter: Double?
        let body: Data
    }

    private let connection: ConnectionFile
    private let http: HTTPClient

    /// Runs `body` with a client that is shut down afterwards.
    static func with<Result: Sendable>(
        _ connection: ConnectionFile, _ body: (GatewayClient) async throws -> Result
    ) async throws -> Result {
        var configuration = HTTPClient.Configuration(redirectConfiguration: .disallow)
        configuration.timeout = .init(connect: .seconds(5), read: .seconds(60))
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.minimumTLSVersion = .tlsv12
        if let caFile = connection.caFile {
            guard FileManager.default.isReadableFile(atPath: caFile) else {
                throw ClientFailure.unusable("the authority file \(caFile) cannot be read")
            }
            tls.trustRoots = .file(caFile)
        }
        configuration.tlsConfiguration = tls
        let http = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
        do {
            let result = try await body(GatewayClient(connection: connection, http: http))
            try await http.shutdown()
            return result
        } catch {
            try? await http.shutdown()
            throw error
        }
    }

    /// Sends a request that may be repeated without harm: a read, a PUT, or a POST with an idempotency key.
    ///
    /// 429 and 503 are repeated after the time the answer asks for, 409 (our own earlier attempt still runs) and lost
    /// connections after a growing pause; ``attemptLimit`` bounds it all.
    /// - Throws: ``ClientFailure`` for every answer that is not 2xx or 304.
    func send(
        _ method: HTTPMethod, _ path: String, headers: [(String, String)] = [], body: ByteBuffer? = nil
    ) async throws -> Answer {
        var request = HTTPClientRequest(url: self.connection.url + path)
        request.method = method
        request.headers.add(name: "X-API-Key", value: self.connection.apiKey)
        // What we wait for and report is the state of now, not of a second ago.
        request.headers.add(name: "Cache-Control", value: "no-cache")
        for (name, value) in headers { request.headers.add(name: name, value: value) }
        if let body { request.body = .bytes(body) }
        var last: any Error = ClientFailure.unusable("no attempt was made")
        for attempt in 1...Self.attemptLimit {
            var pause = min(5, 0.1 * Double(1 << attempt))
            do {
                let answer = try await self.once(request)
                if (200..<300).contains(answer.status) || answer.status == 304 { return answer }
                let failure = ClientFailure.refused(method: method.rawValue, path: path, answer: answer)
                guard [409, 429, 503].contains(answer.status) else { throw failure }
                if let asked = answer.retryAfter { pause = min(60, max(0.05, asked)) }
                last = failure
            } catch let error as ClientFailure {
                throw error
            } catch let error as CancellationError {
                throw error
            } catch {
                last = ClientFailure.unreachable(url: self.connection.url, why: String(describing: error))
            }
            if attempt < Self.attemptLimit { try await Task.sleep(for: .seconds(pause)) }
        }
        throw last
    }

    func get<Value: Decodable>(_ path: String, as type: Value.Type = Value.self) async throws -> Value {
        try self.decode(try await self.send(.GET, path), path: path)
    }

    func post<Value: Decodable>(
        _ path: String, _ body: some Encodable, as type: Value.Type = Value.self
    ) async throws -> Value {
        let bytes = ByteBuffer(bytes: try JSONEncoder().encode(body))
        return try self.decode(
            try await self.send(.POST, path, headers: [("Content-Type", "application/json")], body: bytes), path: path)
    }

    private func once(_ request: HTTPClientRequest) async throws -> Answer {
        let response = try await self.http.execute(request, timeout: .seconds(60))
        let body = try await response.body.collect(upTo: Self.answerLimit)
        return Answer(
            status: Int(response.status.code),
            retryAfter: response.headers.first(name: "retry-after").flatMap(Double.init),
            body: Data(body.readableBytesView))
    }

    private func decode<Value: Decodable>(_ answer: Answer, path: String) throws -> Value {
        do {
            return try JSONDecoder().decode(Value.self, from: answer.body)
        } catch {
            throw ClientFailure.unusable("the answer to \(path) has not the expected form: \(error)")
        }
    }
}

/// Why a client command cannot go on. The text is for the person at the terminal; `exitCode` for scripts.
enum ClientFailure: Error, CustomStringConvertible {
    case unusable(String)
    case unreachable(url: String, why: String)
    case refused(method: String, path: String, answer: GatewayClient.Answer)

    var description: String {
        switch self {
        case .unusable(let why): return why
        case .unreachable(let url, let why): return "\(url) does not answer: \(why)"
        case .refused(let method, let path, let answer):
            let problem = try? JSONDecoder().decode(Problem.self, from: answer.body)
            let detail = problem.map { "\($0.title): \($0.detail)" } ?? "no explanation"
            return "\(method) \(path) was refused with \(answer.status). \(detail)"
        }
    }

    /// 69 no service, 77 not allowed, 65 refused as wrong, 70 anything else (BSD sysexits).
    var exitCode: Int32 {
        switch self {
        case .unusable: 70
        case .unreachable: 69
        case .refused(_, _, let answer):
            switch answer.status {
            case 401, 403: 77
            case 409, 429, 500...599: 69
            default: 65
            }
        }
    }
}
