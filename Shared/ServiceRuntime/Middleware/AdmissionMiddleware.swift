import CoreMetrics
import Hummingbird
import Model
import Synchronization

/// Answers 503 `overloaded` once `limit` requests are at work, so that overload costs a fast refusal, not a slow timeout.
public final class AdmissionMiddleware: RouterMiddleware {
    public typealias Context = CallContext

    private let bound: Atomic<Int>
    private let inFlight = Mutex(0)
    private let refused: Counter

    public init(limit: Int, metrics: any MetricsFactory = MetricsSystem.factory) {
        precondition(limit > 0, "a limit of zero would refuse every request")
        self.bound = Atomic(limit)
        self.refused = Counter(label: "http_server_requests_shed_total", dimensions: [], factory: metrics)
    }

    public var limit: Int { self.bound.load(ordering: .relaxed) }

    /// Counts for requests from now on; those at work go on.
    public func set(limit: Int) { self.bound.store(max(1, limit), ordering: .relaxed) }

    public var inFlightCount: Int { self.inFlight.withLock { $0 } }

    public func handle(
        _ request: Request, context: CallContext, next: @concurrent (Request, CallContext) async throws -> Response
    ) async throws -> Response {
        guard self.enter() else {
            self.refused.increment()
            throw Problem(.overloaded, detail: "The service has too many requests at work.", retryAfter: 1)
        }
        // Dropped on an error, run after a streamed body: freed exactly once either way.
        let completion = Completion { [self] in self.leave() }
        return try await next(request, context).completing(completion)
    }

    /// - Returns: false when there is no place; what entered must ``leave()``.
    func enter() -> Bool {
        let limit = self.limit
        return self.inFlight.withLock { count in
            guard count < limit else { return false }
            count += 1
            return true
        }
    }

    func leave() { self.inFlight.withLock { $0 -= 1 } }
}
