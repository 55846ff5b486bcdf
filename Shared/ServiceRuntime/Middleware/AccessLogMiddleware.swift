import HTTPTypes
import Hummingbird
import Logging

/// One line per request: `debug` for what went well, `info` for refusals and slow answers, `error` from 500 on.
public struct AccessLogMiddleware: RouterMiddleware {
    public typealias Context = CallContext

    private let slow: Duration

    public init(slow: Duration = .seconds(1)) { self.slow = slow }

    public func handle(
        _ request: Request, context: CallContext, next: @concurrent (Request, CallContext) async throws -> Response
    ) async throws -> Response {
        let start = ContinuousClock.now
        let response = try await next(request, context)
        let elapsed = ContinuousClock.now - start
        let level: Logger.Level =
            response.status.code >= 500 ? .error : response.status.code >= 400 || elapsed >= self.slow ? .info : .debug
        // Built only when the line is written: this runs on every request.
        context.logger.log(
            level: level, "request",
            metadata: [
                "method": "\(MethodLabel.text(request.method))", "route": "\(context.endpointPath ?? "none")",
                "status": "\(response.status.code)",
                "duration_ms": "\(Double(Int64(elapsed / .microseconds(1))) / 1_000)",
            ])
        return response
    }
}
