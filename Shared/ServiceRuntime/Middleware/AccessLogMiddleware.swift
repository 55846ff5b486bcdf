import HTTPTypes
import Hummingbird
import Logging

/// One line per request: `debug` for what went well, `info` for refusals and slow answers, `error` from 500 on.
public struct AccessLogMiddleware: RouterMiddleware {
    public typealias Context = CallContext

    private let slow: Duration
    private let logger: Logger

    /// - Parameter logger: not that of the HTTP library, which is kept quiet.
    public init(slow: Duration = .seconds(1), logger: Logger = Logger(label: "requests")) {
        self.slow = slow
        self.logger = logger
    }

    public func handle(
        _ request: Request, context: CallContext, next: @concurrent (Request, CallContext) async throws -> Response
    ) async throws -> Response {
        let start = ContinuousClock.now
        let response = try await next(request, context)
        self.write(request.method, context.endpointPath, response.status, ContinuousClock.now - start)
        return response
    }

    func write(_ method: HTTPRequest.Method, _ route: String?, _ status: HTTPResponse.Status, _ elapsed: Duration) {
        let level: Logger.Level =
            status.code >= 500 ? .error : status.code >= 400 || elapsed >= self.slow ? .info : .debug
        // Built only when the line is written: this runs on every request.
        self.logger.log(
            level: level, "request",
            metadata: [
                "method": "\(MethodLabel.text(method))", "route": "\(route ?? "none")", "status": "\(status.code)",
                "duration_ms": "\(Double(Int64(elapsed / .microseconds(1))) / 1_000)",
            ])
    }
}
