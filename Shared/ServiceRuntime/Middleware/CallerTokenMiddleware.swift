import Foundation
import HTTPTypes
import Hummingbird
import Model
import Telemetry

/// Believes only callers the gateway has vouched for, and lets them do only what their scopes allow.
///
/// Without a valid `X-Undercurrent-Caller` the answer is 401 whatever the path, so that a direct call learns nothing. The scope a
/// route asks for stands in `APIRoute.all`; a route that is not in the table is closed.
public struct CallerTokenMiddleware: RouterMiddleware {
    public typealias Context = CallContext

    static let header = HTTPField.Name(CallerToken.headerName)

    private let secrets: CallerTokenSecrets
    private let routes: RouteTable

    public init(secrets: CallerTokenSecrets, routes: RouteTable = RouteTable()) {
        self.secrets = secrets
        self.routes = routes
    }

    public func handle(
        _ request: Request, context: CallContext, next: @concurrent (Request, CallContext) async throws -> Response
    ) async throws -> Response {
        var context = context
        context.caller = try self.caller(
            of: request.headers, method: request.method, template: context.endpointPath ?? "")
        return try await next(request, context)
    }

    /// - Throws: `Problem` 401 or 403; `HTTPError` 404 for a route that is not in the table.
    func caller(of headers: HTTPFields, method: HTTPRequest.Method, template: String) throws -> CallerToken {
        guard let name = Self.header, let text = headers[name],
            let token = self.secrets.verify(text, nowMs: WallClock.milliseconds())
        else {
            throw Problem(.unauthenticated, detail: "Requests reach this service through the gateway only.")
        }
        // Only routes of the table are answered; the problem middleware says whether the path or the method is wrong.
        guard let route = self.routes.route(method: method, template: template) else { throw HTTPError(.notFound) }
        if let scope = route.scope, !token.scopes.contains(scope) {
            throw Problem(.forbidden, detail: "This route needs the scope \(scope.rawValue).")
        }
        return token
    }
}
