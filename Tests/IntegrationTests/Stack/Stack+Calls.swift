import AsyncHTTPClient
import Foundation
import Model
import NIOCore
import NIOHTTP1

/// One answer, whole.
struct Reply: Sendable {
    let status: Int
    let headers: HTTPHeaders
    let body: Data

    func header(_ name: String) -> String? { self.headers.first(name: name) }

    var text: String { String(decoding: self.body, as: UTF8.self) }
    /// The problem of a refusal; nil when the answer is none.
    var problem: Problem? {
        guard self.headers.first(name: "content-type")?.hasPrefix("application/problem+json") == true else {
            return nil
        }
        return try? JSONDecoder().decode(Problem.self, from: self.body)
    }

    func json<Value: Decodable>(_ type: Value.Type = Value.self) throws -> Value {
        do {
            return try JSONDecoder().decode(type, from: self.body)
        } catch {
            throw RunningProgram.Failure(description: "\(self.status) \(self.text.prefix(500)): \(error)")
        }
    }
}

/// What `POST /v1/observations` answers.
struct Receipt: Decodable, Sendable {
    struct Refusal: Decodable, Sendable {
        var line: Int
        var field: String?
        var detail: String
    }
    var accepted: Int
    var duplicates: Int
    var rejected: Int
    var errors: [Refusal]
}

extension Stack {
    static let allScopes = "ingest,read,configure"

    /// Asks for the state of now, unless `headers` say otherwise.
    /// - Parameters:
    ///   - path: a path at the gateway, or a whole URL.
    ///   - key: nil sends none.
    func call(
        _ method: String, _ path: String, key: String?, headers: [(String, String)] = [], body: Data? = nil
    ) async throws -> Reply {
        var request = HTTPClientRequest(url: path.hasPrefix("http") ? path : self.url + path)
        request.method = HTTPMethod(rawValue: method)
        if let key { request.headers.add(name: "X-API-Key", value: key) }
        if method == "GET", !headers.contains(where: { $0.0.lowercased() == "cache-control" }) {
            request.headers.add(name: "Cache-Control", value: "no-cache")
        }
        for (name, value) in headers { request.headers.add(name: name, value: value) }
        if let body { request.body = .bytes(ByteBuffer(bytes: body)) }
        let response = try await self.http.execute(request, timeout: .seconds(30))
        let bytes = try await response.body.collect(upTo: 32 << 20)
        return Reply(status: Int(response.status.code), headers: response.headers, body: Data(bytes.readableBytesView))
    }

    /// Sends lines (NDJSON) with a key of all scopes.
    func observe(
        _ lines: [String], idempotencyKey: String? = nil, headers: [(String, String)] = []
    ) async throws -> Reply {
        try await self.observe(body: Data(lines.map { $0 + "\n" }.joined().utf8), idempotencyKey, headers: headers)
    }

    func observe(
        body: Data, _ idempotencyKey: String? = nil, contentType: String = "application/x-ndjson",
        headers: [(String, String)] = []
    ) async throws -> Reply {
        var headers = headers + [("Content-Type", contentType)]
        if let idempotencyKey { headers.append(("Idempotency-Key", idempotencyKey)) }
        return try await self.call(
            "POST", "/v1/observations", key: try await self.key(scopes: Self.allScopes), headers: headers, body: body)
    }

    func put(_ path: String, _ json: String) async throws -> Reply {
        try await self.call(
            "PUT", path, key: try await self.key(scopes: Self.allScopes),
            headers: [("Content-Type", "application/json")],
            body: Data(json.utf8))
    }

    func get(_ path: String) async throws -> Reply {
        try await self.call("GET", path, key: try await self.key(scopes: Self.allScopes))
    }

    func post(_ path: String, _ json: String) async throws -> Reply {
        try await self.call(
            "POST", path, key: try await self.key(scopes: Self.allScopes),
            headers: [("Content-Type", "application/json")],
            body: Data(json.utf8))
    }

    /// What `/metrics` of a program says; 0 when it has no such metric yet.
    func metric(_ name: String, of program: String = "graph-builder") async throws -> Double {
        let port = self.ports[program]?.metrics ?? 0
        let text = try await self.call("GET", "http://127.0.0.1:\(port)/metrics", key: nil).text
        return text.split(separator: "\n").first { $0.hasPrefix(name + " ") }
            .flatMap { Double($0.split(separator: " ").last ?? "") } ?? 0
    }

    /// Resident memory in bytes of each program that was started.
    func residentBytes() async throws -> [String: Double] {
        var bytes: [String: Double] = [:]
        for name in self.options.started ?? self.options.programs {
            bytes[name] = try await self.metric("process_resident_memory_bytes", of: name)
        }
        return bytes
    }

    /// One observation as a line.
    static func line(
        domain: String = "test", event: String, market: String = "price", venue: String = "a", time: Int64,
        value: Double
    ) -> String {
        """
        {"domain":"\(domain)","event":"\(event)","market":"\(market)","venue":"\(venue)","time":\(time),"value":\(value)}
        """
    }
}
