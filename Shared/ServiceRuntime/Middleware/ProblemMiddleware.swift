import HTTPTypes
import Hummingbird
import Logging
import Model
import Postgres
import Telemetry

/// Turns every thrown error into `application/problem+json`. What is inside the service goes to the log, never to the client.
public struct ProblemMiddleware: RouterMiddleware {
    public typealias Context = CallContext

    private let routes: RouteTable

    public init(routes: RouteTable = RouteTable()) { self.routes = routes }

    public func handle(
        _ request: Request, context: CallContext, next: @concurrent (Request, CallContext) async throws -> Response
    ) async throws -> Response {
        do {
            return try await next(request, context)
        } catch {
            return self.response(to: error, request, context)
        }
    }

    private func response(to error: any Error, _ request: Request, _ context: CallContext) -> Response {
        let traceId = context.trace?.traceID.description
        if (error as? HTTPError)?.status == .notFound,
            self.routes.route(method: request.method, template: context.endpointPath ?? "") == nil
        {
            return self.noRoute(request, traceId)
        }
        let problem = Problem(anyError: error)
        if problem.status >= 500 {
            context.logger.error(
                "request failed",
                metadata: [
                    "code": "\(problem.code.rawValue)", "route": "\(context.endpointPath ?? "none")",
                    "error": "\(String(reflecting: error))",
                ])
        }
        return problem.response(traceId: traceId)
    }

    /// 404, or 405 with `Allow` when the path exists with other methods.
    private func noRoute(_ request: Request, _ traceId: String?) -> Response {
        let methods =
            RouteTable.operational.contains(request.uri.path) ? ["GET"] : self.routes.methods(path: request.uri.path)
        guard !methods.isEmpty, !methods.contains(request.method.rawValue) else {
            return Problem(.notFound, detail: "There is no such route.").response(traceId: traceId)
        }
        let allowed = methods.joined(separator: ", ")
        var response = Problem(.methodNotAllowed, detail: "This path knows \(allowed).").response(traceId: traceId)
        response.headers[.allow] = allowed
        return response
    }
}
