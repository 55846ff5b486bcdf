import HTTPTypes
import Hummingbird
import Model
import Postgres

/// Reads `X-Request-Timeout-Ms`: the deadline goes into the context and to every database wait; past it the work is cancelled
/// and the answer is 504. It is cancelled, too, when the peer hangs up.
public struct DeadlineMiddleware: RouterMiddleware {
    public typealias Context = CallContext

    public static let headerName = "X-Request-Timeout-Ms"
    /// Longest time a request may ask for.
    public static let limitMs = 600_000
    static let header = HTTPField.Name(Self.headerName)

    private let defaultTimeout: Duration
    private let watch: CallWatch

    /// - Parameter defaultTimeout: deadline of requests without the header; bounds database waits, does not end the handler.
    public init(defaultTimeout: Duration = .seconds(60), watch: CallWatch = CallWatch()) {
        self.defaultTimeout = defaultTimeout
        self.watch = watch
    }

    /// nil without the header.
    /// - Throws: `Problem` 400 when it is not a whole number of milliseconds in range.
    static func timeout(_ headers: HTTPFields) throws(Problem) -> Duration? {
        guard let name = Self.header, let text = headers[name] else { return nil }
        guard let milliseconds = Int(text), (0...Self.limitMs).contains(milliseconds) else {
            throw Problem(
                .invalidRequest, detail: "\(Self.headerName) must be a whole number from 0 to \(Self.limitMs)")
        }
        return .milliseconds(milliseconds)
    }

    public func handle(
        _ request: Request, context: CallContext, next: @concurrent (Request, CallContext) async throws -> Response
    ) async throws -> Response {
        let asked = try Self.timeout(request.headers)
        guard asked != .zero else { throw Self.passed }
        let deadline = ContinuousClock.now + (asked ?? self.defaultTimeout)
        var context = context
        context.deadline = deadline
        let timed = context
        // Called exactly once, by one task, and this function does not return before that task has ended.
        nonisolated(unsafe) let next = next
        return try await withoutActuallyEscaping(next) { next in
            let call = Call(request: request, context: timed, next: next)
            return try await PostgresDeadline.$current.withValue(deadline) {
                try await self.run(call, until: asked == nil ? nil : deadline)
            }
        }
    }

    private static var passed: Problem {
        Problem(.deadlineExceeded, detail: "The time the request was given has passed.")
    }

    private func run(_ call: Call, until deadline: ContinuousClock.Instant?) async throws -> Response {
        let work = Task { try await call.run() }
        let id = self.watch.begin(deadline: deadline, connection: call.context.connection) { work.cancel() }
        defer { self.watch.end(id) }
        do {
            let response = try await withTaskCancellationHandler {
                try await work.value
            } onCancel: {
                work.cancel()
            }
            if let deadline, ContinuousClock.now >= deadline { throw Self.passed }
            return response
        } catch {
            // Work that failed because its time was over says so.
            if let deadline, ContinuousClock.now >= deadline { throw Self.passed }
            if self.watch.hasHungUp(call.context.connection) {
                throw Problem(.requestTimeout, detail: "The client has gone.")
            }
            throw error
        }
    }
}

/// Carries the rest of the middleware chain into a task.
///
/// `@unchecked`: the closure is not declared Sendable, but it is called exactly once, by one task, and `handle` does not return
/// or touch it before that task has ended.
private struct Call: @unchecked Sendable {
    let request: Request
    let context: CallContext
    let next: @concurrent (Request, CallContext) async throws -> Response

    func run() async throws -> Response { try await self.next(self.request, self.context) }
}
