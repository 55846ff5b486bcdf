import CoreMetrics
import HTTPTypes
import Hummingbird
import Synchronization

/// Counts and times every request by method, route template and status; failures too, because this stands outside of the
/// middleware that turns errors into responses.
public final class HTTPMetricsMiddleware: RouterMiddleware {
    public typealias Context = CallContext

    private struct Key: Hashable {
        let method: String
        let route: String
        let status: Int
    }

    private struct Handles {
        let requests: Counter
        let duration: CoreMetrics.Timer
    }

    private let factory: any MetricsFactory
    private let inFlight: Meter
    private let handles = Mutex([Key: Handles]())

    public init(factory: any MetricsFactory = MetricsSystem.factory) {
        self.factory = factory
        self.inFlight = Meter(label: "http_server_requests_in_flight", dimensions: [], factory: factory)
    }

    public func handle(
        _ request: Request, context: CallContext, next: @concurrent (Request, CallContext) async throws -> Response
    ) async throws -> Response {
        let start = ContinuousClock.now
        self.inFlight.increment()
        let inFlight = self.inFlight
        let completion = Completion { inFlight.decrement() }
        do {
            let response = try await next(request, context)
            self.record(request.method, context.endpointPath, response.status, ContinuousClock.now - start)
            return response.completing(completion)
        } catch {
            self.record(request.method, context.endpointPath, .internalServerError, ContinuousClock.now - start)
            throw error
        }
    }

    func record(_ method: HTTPRequest.Method, _ route: String?, _ status: HTTPResponse.Status, _ elapsed: Duration) {
        let handles = self.handles(
            Key(method: MethodLabel.text(method), route: route ?? "none", status: status.code))
        handles.requests.increment()
        handles.duration.recordNanoseconds(Int64(elapsed / .nanoseconds(1)))
    }

    /// Routes are templates and statuses few, so this stays small.
    private func handles(_ key: Key) -> Handles {
        self.handles.withLock { handles in
            if let known = handles[key] { return known }
            let labels = [("method", key.method), ("route", key.route), ("status", String(key.status))]
            let made = Handles(
                requests: Counter(label: "http_server_requests_total", dimensions: labels, factory: self.factory),
                duration: CoreMetrics.Timer(
                    label: "http_server_request_duration_seconds", dimensions: labels, factory: self.factory))
            handles[key] = made
            return made
        }
    }
}
