import AsyncHTTPClient
import Foundation
import Model
import NIOCore
import NIOHTTP1
import NIOSSL

/// Asks the running system as a client does: through the gateway with a key, and its metrics where machines read them.
struct SystemProbe: Sendable {
    struct Answer: Sendable {
        var status: Int
        var headers: [String: String]
        var body: Data
        var took: Duration

        func header(_ name: String) -> String? { self.headers[name.lowercased()] }
        var problem: Problem? {
            guard self.header("content-type")?.hasPrefix("application/problem+json") == true else { return nil }
            return try? JSONDecoder().decode(Problem.self, from: self.body)
        }
        var json: [String: Any] { (try? JSONSerialization.jsonObject(with: self.body)) as? [String: Any] ?? [:] }
        var text: String { String(decoding: self.body.prefix(300), as: UTF8.self) }
    }

    static let answerLimit = 32 << 20
    static let waitsForLimit = 20

    let url: String
    let key: String
    let http: HTTPClient

    static func with<Result>(
        url: String, caFile: String?, key: String, _ body: (SystemProbe) async throws -> Result
    ) async throws -> Result {
        var configuration = HTTPClient.Configuration(redirectConfiguration: .disallow)
        var tls = TLSConfiguration.makeClientConfiguration()
        if let caFile { tls.trustRoots = .file(caFile) }
        configuration.tlsConfiguration = tls
        let http = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
        do {
            let result = try await body(SystemProbe(url: url, key: key, http: http))
            try? await http.shutdown()
            return result
        } catch {
            try? await http.shutdown()
            throw error
        }
    }

    /// - Parameter key: nil sends the probe's own, and waits where its limit is spent: that is looked at with a key of its own.
    ///   Empty sends none.
    func call(
        _ method: HTTPMethod, _ path: String, key: String? = nil, headers: [(String, String)] = [], json: String? = nil,
        timeoutSeconds: Int64 = 30
    ) async throws -> Answer {
        for _ in 0..<Self.waitsForLimit {
            let answer = try await self.once(method, path, key, headers, json, timeoutSeconds)
            guard key == nil, answer.status == 429 else { return answer }
            let seconds = answer.header("retry-after").flatMap(Double.init) ?? 1
            try await Task.sleep(for: .seconds(min(max(seconds, 0.1), 5)))
        }
        return try await self.once(method, path, key, headers, json, timeoutSeconds)
    }

    private func once(
        _ method: HTTPMethod, _ path: String, _ key: String?, _ headers: [(String, String)], _ json: String?,
        _ timeoutSeconds: Int64
    ) async throws -> Answer {
        var request = HTTPClientRequest(url: path.hasPrefix("http") ? path : self.url + path)
        request.method = method
        let key = key ?? self.key
        if !key.isEmpty { request.headers.add(name: "X-API-Key", value: key) }
        // What the system does now is looked at, not what it said a second ago.
        request.headers.add(name: "Cache-Control", value: "no-cache")
        for (name, value) in headers { request.headers.add(name: name, value: value) }
        if let json {
            request.headers.add(name: "Content-Type", value: "application/json")
            request.body = .bytes(ByteBuffer(string: json))
        }
        let begin = ContinuousClock.now
        let response = try await self.http.execute(request, timeout: .seconds(timeoutSeconds))
        let body = try await response.body.collect(upTo: Self.answerLimit)
        var headers: [String: String] = [:]
        for (name, value) in response.headers { headers[name.lowercased()] = value }
        return Answer(
            status: Int(response.status.code), headers: headers, body: Data(body.readableBytesView),
            took: begin.duration(to: .now))
    }

    func get(_ path: String) async throws -> Answer { try await self.call(.GET, path) }

    /// Asks again while the answer is to come later (503, 504), as it may be where a neighbour has the processors and statements
    /// have 50 ms: what is looked at here is something else.
    func getPatiently(_ path: String, headers: [(String, String)] = []) async throws -> Answer {
        for _ in 0..<20 {
            let answer = try await self.call(.GET, path, headers: headers)
            guard [503, 504].contains(answer.status) else { return answer }
            try await Task.sleep(for: .milliseconds(300))
        }
        return try await self.call(.GET, path, headers: headers)
    }

    /// Asks until the answer is yes.
    /// - Returns: how long that took; nil when it never was.
    func until(
        seconds: Double, every pause: Duration = .milliseconds(200), _ condition: () async throws -> Bool
    ) async -> Duration? {
        let begin = ContinuousClock.now
        while begin.duration(to: .now) < .seconds(seconds) {
            if (try? await condition()) == true { return begin.duration(to: .now) }
            try? await Task.sleep(for: pause)
        }
        return nil
    }

    /// A graph of the installation to look at: the first event that has one, with its id.
    func someGraph() async throws -> (event: String, id: String)? {
        var cursor = ""
        for _ in 0..<10 {
            let answer = try await self.getPatiently("/v1/events?limit=100" + cursor)
            guard answer.status == 200 else {
                throw ReadinessTrouble("events were answered \(answer.status): \(answer.text)")
            }
            let page = answer.json
            for item in page["items"] as? [[String: Any]] ?? [] {
                if let event = item["id"] as? String, let graph = item["graphId"] as? String { return (event, graph) }
            }
            guard let next = page["nextCursor"] as? String else { return nil }
            cursor = "&cursor=" + Self.encoded(next)
        }
        return nil
    }

    func graph(_ event: String) async throws -> Answer {
        try await self.get("/v1/correlation-graph?eventId=" + Self.encoded(event))
    }

    /// State and reason of each layer of an answered graph.
    static func layers(_ answer: Answer) -> [String: (state: String, reason: String)] {
        var layers: [String: (state: String, reason: String)] = [:]
        for layer in answer.json["layers"] as? [[String: Any]] ?? [] {
            guard let name = layer["layer"] as? String, let state = layer["state"] as? String else { continue }
            layers[name] = (state, layer["reason"] as? String ?? "")
        }
        return layers
    }

    static func encoded(_ text: String) -> String {
        text.addingPercentEncoding(withAllowedCharacters: .alphanumerics.union(CharacterSet(charactersIn: "-._~")))
            ?? ""
    }
}

/// Text of Prometheus, as far as it is looked at here.
struct MetricsText: Sendable {
    var lines: [Substring]

    init(_ data: Data) { self.lines = String(decoding: data, as: UTF8.self).split(separator: "\n") }

    /// Sum over all series of a name, or of one written out with its labels; nil when there is none.
    func value(_ name: String) -> Double? {
        let found = self.lines.filter {
            $0.hasPrefix(name) && ($0.dropFirst(name.count).first == " " || $0.dropFirst(name.count).first == "{")
        }
        guard !found.isEmpty else { return nil }
        return found.compactMap { line in
            // What stands behind ` # ` is an exemplar.
            let sample = line.firstRange(of: " # ").map { line[..<$0.lowerBound] } ?? line
            return Double(sample.split(separator: " ").last ?? "")
        }.reduce(0, +)
    }
}
