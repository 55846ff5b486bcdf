import AsyncHTTPClient
import Foundation
import HTTPTypes
import HummingbirdCore
import Model
import NIOCore
import NIOHTTP1

/// Sends requests on to services: chooses the replica, tries a second one where that is safe, and maps failures.
struct Proxy: Sendable {
    /// One request, as decided: everything but the replica.
    struct Forward: Sendable {
        let route: APIRoute
        let method: String
        /// Path and query as the client sent them.
        let target: String
        let shard: Shard?
        /// What goes to the service, apart from the remaining time.
        let fields: HTTPFields
        let plan: BodyPolicy.Plan
        /// When the exchange must be over, monotonic nanoseconds.
        let deadline: Int64
    }

    let client: HTTPClient
    let directory: ServiceDirectory

    /// - Throws: a ``Problem`` to answer with.
    func send(_ forward: Forward, body: RequestBody, exchange: Exchange) async throws(Problem) -> UpstreamAnswer {
        let task = Task { () async -> Result<UpstreamAnswer, Problem> in
            do throws(Problem) {
                return .success(try await self.exchangeBodies(forward, body: body, exchange: exchange))
            } catch {
                return .failure(error)
            }
        }
        exchange.onInterruption { task.cancel() }
        let result = await withTaskCancellationHandler {
            await task.value
        } onCancel: {
            task.cancel()
        }
        exchange.onInterruption(nil)
        // Why the work was stopped says more than how it failed when it was.
        if let interruption = exchange.interruption {
            throw Self.problem(of: interruption, upstream: forward.route.upstream)
        }
        return try result.get()
    }

    static func problem(of interruption: Exchange.Interruption, upstream: Upstream) -> Problem {
        switch interruption {
        case .deadlinePassed: UpstreamFailure.timedOut.problem(of: upstream)
        case .bodyTooLarge(let limit): BodyPolicy.tooLarge(limit)
        case .bodyStalled, .clientGone:
            Problem(.requestTimeout, detail: "The body did not arrive in time.")
        }
    }

    private func exchangeBodies(
        _ forward: Forward, body: RequestBody, exchange: Exchange
    ) async throws(Problem) -> UpstreamAnswer {
        switch forward.plan {
        case .none:
            return try await self.tryReplicas(forward, body: nil)
        case .collect(let limit):
            let whole: ByteBuffer
            do {
                whole = try await BodyRelay.collect(body, limit: limit, exchange: exchange)
            } catch {
                exchange.closeAfterResponse()
                throw (error as? Problem) ?? Problem(.malformedBody, detail: "The body broke off.")
            }
            return try await self.tryReplicas(forward, body: .bytes(whole))
        case .stream(let length, let limit):
            let relay = BodyRelay(reading: body, limit: limit, exchange: exchange)
            let upload = HTTPClientRequest.Body.stream(relay.body, length: length.map { .known(Int64($0)) } ?? .unknown)
            let result: Result<UpstreamAnswer, Problem>
            do throws(Problem) {
                result = .success(try await self.tryReplicas(forward, body: upload, isRepeatable: false))
            } catch {
                result = .failure(error)
            }
            await relay.stop(exchange)
            return try result.get()
        }
    }

    private func tryReplicas(
        _ forward: Forward, body: HTTPClientRequest.Body?, isRepeatable: Bool = true
    ) async throws(Problem) -> UpstreamAnswer {
        let upstream = forward.route.upstream
        let known = self.directory.candidates(for: upstream, shard: forward.shard)
        guard let first = known.first else { throw UpstreamFailure.noReplica.problem(of: upstream) }
        // A lone replica may be asked twice: its idle connection may just have been closed.
        let candidates = known.count > 1 || forward.route.method != .get ? known : [first, first]
        var failure = UpstreamFailure.noReplica
        for (attempt, replica) in candidates.enumerated() {
            do {
                let response = try await self.execute(forward, on: replica, body: body)
                self.directory.clear(replica)
                return try await Self.answer(response, upstream: upstream, replica: replica)
            } catch let problem as Problem {
                throw problem
            } catch {
                failure = UpstreamFailure.classify(error)
                if failure != .timedOut, !Task.isCancelled { self.directory.shun(replica) }
                let mayRepeat = isRepeatable && failure.allowsRetry(isRepeatable: forward.route.method == .get)
                guard mayRepeat, attempt == 0, !Task.isCancelled else { break }
            }
        }
        throw failure.problem(of: upstream)
    }

    private func execute(
        _ forward: Forward, on replica: String, body: HTTPClientRequest.Body?
    ) async throws -> HTTPClientResponse {
        let remainingMs = max(1, (forward.deadline - MonotonicClock.nanoseconds()) / 1_000_000)
        var request = HTTPClientRequest(url: replica + forward.target)
        request.method = HTTPMethod(rawValue: forward.method)
        request.body = body
        var headers = HTTPHeaders()
        headers.reserveCapacity(forward.fields.count + 1)
        for field in forward.fields { headers.add(name: field.name.rawName, value: field.value) }
        headers.add(name: HTTPField.Name.requestTimeout.rawName, value: String(remainingMs))
        request.headers = headers
        return try await self.client.execute(request, timeout: .milliseconds(remainingMs))
    }

    private static func answer(
        _ response: HTTPClientResponse, upstream: Upstream, replica: String
    ) async throws -> UpstreamAnswer {
        let status = Int(response.status.code)
        var fields = HTTPFields()
        for (name, value) in response.headers {
            guard let name = HTTPField.Name(name) else { continue }
            fields.append(HTTPField(name: name, value: value))
        }
        if case .replace(let problem) = ResponsePolicy.verdict(
            status: status, mediaType: fields[.contentType], upstream: upstream)
        {
            throw problem
        }
        let length = fields[.contentLength].flatMap { Int($0) }
        let kept = HopByHop.towardsClient(fields)
        guard ResponsePolicy.hasBody(status: status) else {
            return UpstreamAnswer(status: status, fields: kept, body: .none, replica: replica)
        }
        guard let length, length <= ResponsePolicy.collectLimit else {
            return UpstreamAnswer(
                status: status, fields: kept, body: .stream(response.body, length: length), replica: replica)
        }
        let whole = try await response.body.collect(upTo: ResponsePolicy.collectLimit)
        guard whole.readableBytes == length else { throw HTTPClientError.remoteConnectionClosed }
        return UpstreamAnswer(status: status, fields: kept, body: .whole(whole), replica: replica)
    }
}
