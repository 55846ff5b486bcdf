import HTTPTypes
import Hummingbird
import Model
import Postgres

/// Reads `X-Request-Timeout-Ms`: the deadline goes into the context and to every database wait; past it the work is cancelled
/// and the answer is 504.
public struct DeadlineMiddleware: RouterMiddleware {
    public typealias Context = CallContext

    public static let headerName = "X-Request-Timeout-Ms"
    /// Longest time a request may ask for.
    public static let limitMs = 600_000
    static let header = HTTPField.Name(Self.headerName)

    private let defaultTimeout: Duration

    /// - Parameter defaultTimeout: deadline of requests without the header; bounds database waits, does not race the handler.
    public init(defaultTimeout: Duration = .seconds(60)) { self.defaultTimeout = defaultTimeout }

    public func handle(
        _ request: Request, context: CallContext, next: @concurrent (Request, CallContext) async throws -> Response
    ) async throws -> Response {
        var context = context
        guard let name = Self.header, let text = request.headers[name] else {
            let deadline = ContinuousClock.now + self.defaultTimeout
            context.deadline = deadline
            return try await PostgresDeadline.$current.withValue(deadline) { try await next(request, context) }
        }
        guard let milliseconds = Int(text), (0...Self.limitMs).contains(milliseconds) else {
            throw Problem(
                .invalidRequest, detail: "\(Self.headerName) must be a whole number from 0 to \(Self.limitMs)")
        }
        guard milliseconds > 0 else { throw Self.passed }
        let deadline = ContinuousClock.now + .milliseconds(milliseconds)
        context.deadline = deadline
        let timed = context
        // Called exactly once, by one child task, and this function does not return before that child has ended.
        nonisolated(unsafe) let next = next
        return try await withoutActuallyEscaping(next) { next in
            let call = Call(request: request, context: timed, next: next)
            return try await PostgresDeadline.$current.withValue(deadline) {
                try await Self.race(until: deadline) { try await call.run() }
            }
        }
    }

    private static var passed: Problem {
        Problem(.deadlineExceeded, detail: "The time the request was given has passed.")
    }

    private static func race(
        until deadline: ContinuousClock.Instant, _ work: @escaping @Sendable () async throws -> Response
    ) async throws -> Response {
        try await withThrowingTaskGroup(of: Response?.self) { group in
            group.addTask { try await work() }
            group.addTask {
                try await Task.sleep(until: deadline, clock: .continuous)
                return nil
            }
            defer { group.cancelAll() }
            do {
                // The first child to end decides; the group waits for the cancelled other before it returns.
                if case .some(.some(let response)) = try await group.next() { return response }
                throw Self.passed
            } catch {
                // Work that failed because its time was over says so.
                throw ContinuousClock.now >= deadline ? Self.passed : error
            }
        }
    }
}

/// Carries the rest of the middleware chain into a child task.
///
/// `@unchecked`: the closure is not declared Sendable, but it is called exactly once, by one child, and `handle` does not return
/// or touch it before that child has ended (structured concurrency).
private struct Call: @unchecked Sendable {
    let request: Request
    let context: CallContext
    let next: @concurrent (Request, CallContext) async throws -> Response

    func run() async throws -> Response { try await self.next(self.request, self.context) }
}
