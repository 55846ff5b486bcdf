import HTTPTypes
import Model

/// Finds the declared route of a request, and which methods a path knows.
public struct RouteTable: Sendable {
    /// Paths every service answers itself.
    public static let operational: Set<String> = ["/health", "/livez", "/readyz"]

    private let routes: [APIRoute]

    public init(_ routes: [APIRoute] = APIRoute.all) { self.routes = routes }

    /// - Parameter template: the path as it was registered, with `{name}`.
    public func route(method: HTTPRequest.Method, template: String) -> APIRoute? {
        self.routes.first { $0.method.rawValue == method.rawValue && $0.path == template }
    }

    /// The methods of a path as it came, for the `Allow` header of a 405; empty when no route has this path.
    public func methods(path: String) -> [String] {
        let segments = path.split(separator: "/", omittingEmptySubsequences: false)
        return Set(
            self.routes.filter { route in
                let template = route.path.split(separator: "/", omittingEmptySubsequences: false)
                guard template.count == segments.count else { return false }
                return zip(template, segments).allSatisfy { pattern, segment in
                    pattern == segment || (pattern.hasPrefix("{") && !segment.isEmpty)
                }
            }.map(\.method.rawValue)
        ).sorted()
    }
}
