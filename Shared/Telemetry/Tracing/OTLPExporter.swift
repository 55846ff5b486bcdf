import AsyncHTTPClient
import Foundation
import Logging
import NIOCore
import NIOHTTP1
import ServiceLifecycle

/// Sends ended spans to a collector by OTLP/HTTP JSON: in batches, with a timeout, each batch tried at most three times; what
/// cannot be delivered is dropped and counted, never kept without bound.
public struct OTLPExporter: Service {
    static let attemptLimit = 3

    private let endpoint: String
    private let queue: SpanQueue
    private let service: String
    private let version: String
    private let interval: Duration
    private let timeout: Duration
    private let batchLimit: Int
    private let logger: Logger

    /// - Parameter endpoint: base URL of the collector, `http://127.0.0.1:4318`; spans go to its `/v1/traces`.
    public init(
        endpoint: String, queue: SpanQueue, service: String, version: String, interval: Duration = .seconds(2),
        timeout: Duration = .seconds(5), batchLimit: Int = 512, logger: Logger
    ) {
        self.endpoint = endpoint.hasSuffix("/v1/traces") ? endpoint : endpoint + "/v1/traces"
        self.queue = queue
        self.service = service
        self.version = version
        self.interval = interval
        self.timeout = timeout
        self.batchLimit = batchLimit
        self.logger = logger
    }

    public func run() async throws {
        let client = HTTPClient(
            eventLoopGroupProvider: .singleton,
            configuration: HTTPClient.Configuration(redirectConfiguration: .disallow))
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                try? await Task.sleep(for: self.interval)
                await self.flush(client, batchCount: 8)
            }
        }
        // What ended until now goes out before the process does; one pass, bounded by the timeout.
        await Task { await self.flush(client, batchCount: 1) }.value
        try await client.shutdown()
    }

    private func flush(_ client: HTTPClient, batchCount: Int) async {
        for _ in 0..<batchCount {
            let spans = self.queue.take(atMost: self.batchLimit)
            if spans.isEmpty { return }
            await self.send(spans, client)
        }
    }

    private func send(_ spans: [FinishedSpan], _ client: HTTPClient) async {
        var request = HTTPClientRequest(url: self.endpoint)
        request.method = .POST
        request.headers.add(name: "content-type", value: "application/json")
        request.body = .bytes(
            ByteBuffer(bytes: OTLPEncoding.body(spans, service: self.service, version: self.version)))
        for attempt in 1...Self.attemptLimit {
            do {
                let response = try await client.execute(
                    request, timeout: .nanoseconds(Int64(self.timeout / .nanoseconds(1))))
                _ = try? await response.body.collect(upTo: 65_536)
                if response.status.code < 300 { return self.queue.countExported(spans.count) }
                // Anything but "try again" stays refused.
                guard [429, 502, 503, 504].contains(response.status.code) else { break }
            } catch {
                self.logger.debug("Spans were not delivered", metadata: ["error": "\(error)", "attempt": "\(attempt)"])
            }
            if attempt < Self.attemptLimit { try? await Task.sleep(for: .milliseconds(200 << attempt)) }
        }
        self.queue.countDropped(spans.count)
        self.logger.warning("Spans dropped: the collector does not take them", metadata: ["spans": "\(spans.count)"])
    }
}
