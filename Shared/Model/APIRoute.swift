/// What a credential may do.
public enum Scope: String, CaseIterable, Hashable, Sendable, Codable {
    /// Send observations.
    case ingest
    /// Read graphs, anomalies, forecasts, domains; ask for propagation and root causes.
    case read
    /// Declare topology and domain profiles.
    case configure
    /// Manage API keys and see decisions.
    case admin
}

/// The service that answers a route.
public enum Upstream: String, Hashable, Sendable, Codable {
    case gateway, graphBuilder, anomalyPropagation
}

/// Every public route: the one table from which the gateway routes and limits, services check scopes, and the test compares
/// `openapi.yaml`.
public struct APIRoute: Hashable, Sendable {
    public enum Method: String, Hashable, Sendable { case get = "GET", post = "POST", put = "PUT", delete = "DELETE" }

    public let method: Method
    /// Template with `{name}` for one segment: `/v1/events/{id}`.
    public let path: String
    /// nil: open to everyone.
    public let scope: Scope?
    public let upstream: Upstream
    /// Where the event id stands that decides which replica answers best; nil: any ready one.
    public let shardKey: ShardKey?
    /// Largest body in bytes.
    public let bodyLimit: Int

    public enum ShardKey: Hashable, Sendable {
        case query(String)
        case segment(String)
    }

    public init(
        _ method: Method, _ path: String, scope: Scope?, upstream: Upstream, shardKey: ShardKey? = nil,
        bodyLimit: Int = 0
    ) {
        self.method = method
        self.path = path
        self.scope = scope
        self.upstream = upstream
        self.shardKey = shardKey
        self.bodyLimit = bodyLimit
    }

    public static let all: [APIRoute] = [
        APIRoute(.post, "/v1/observations", scope: .ingest, upstream: .graphBuilder, bodyLimit: 32 << 20),
        APIRoute(.get, "/v1/events", scope: .read, upstream: .graphBuilder),
        APIRoute(.get, "/v1/events/{id}", scope: .read, upstream: .graphBuilder, shardKey: .segment("id")),
        APIRoute(.get, "/v1/events/{id}/changes", scope: .read, upstream: .graphBuilder, shardKey: .segment("id")),
        APIRoute(.get, "/v1/graphs/diff", scope: .read, upstream: .graphBuilder),
        APIRoute(.get, "/v1/correlation-graph", scope: .read, upstream: .graphBuilder, shardKey: .query("eventId")),
        APIRoute(.get, "/api/correlation-graph", scope: .read, upstream: .graphBuilder, shardKey: .query("eventId")),
        APIRoute(.get, "/v1/domains", scope: .read, upstream: .graphBuilder),
        APIRoute(.get, "/v1/domains/{id}", scope: .read, upstream: .graphBuilder),
        APIRoute(.put, "/v1/domains/{id}", scope: .configure, upstream: .graphBuilder, bodyLimit: 256 << 10),
        APIRoute(.get, "/v1/chaos", scope: .admin, upstream: .graphBuilder, shardKey: .query("eventId")),
        APIRoute(
            .post, "/v1/chaos", scope: .admin, upstream: .graphBuilder, shardKey: .query("eventId"), bodyLimit: 4 << 10
        ),
        APIRoute(.get, "/v1/anomalies", scope: .read, upstream: .anomalyPropagation),
        APIRoute(.get, "/v1/anomalies/{id}", scope: .read, upstream: .anomalyPropagation),
        APIRoute(.post, "/v1/propagation", scope: .read, upstream: .anomalyPropagation, bodyLimit: 64 << 10),
        APIRoute(.post, "/v1/root-causes", scope: .read, upstream: .anomalyPropagation, bodyLimit: 64 << 10),
        APIRoute(.get, "/v1/forecasts", scope: .read, upstream: .anomalyPropagation),
        APIRoute(.get, "/v1/topology", scope: .read, upstream: .anomalyPropagation),
        APIRoute(.put, "/v1/topology", scope: .configure, upstream: .anomalyPropagation, bodyLimit: 4 << 20),
        APIRoute(.get, "/v1/readiness", scope: .read, upstream: .anomalyPropagation),
        APIRoute(.get, "/v1/keys", scope: .admin, upstream: .gateway),
        APIRoute(.post, "/v1/keys", scope: .admin, upstream: .gateway, bodyLimit: 16 << 10),
        APIRoute(.delete, "/v1/keys/{id}", scope: .admin, upstream: .gateway),
        APIRoute(.post, "/v1/keys/{id}/rotate", scope: .admin, upstream: .gateway, bodyLimit: 16 << 10),
        APIRoute(.get, "/v1/audit", scope: .admin, upstream: .gateway),
        APIRoute(.get, "/v1/decisions/{traceId}", scope: .admin, upstream: .gateway),
        APIRoute(.get, "/health", scope: nil, upstream: .gateway),
        APIRoute(.get, "/livez", scope: nil, upstream: .gateway),
        APIRoute(.get, "/readyz", scope: nil, upstream: .gateway),
        APIRoute(.get, "/openapi.json", scope: nil, upstream: .gateway),
        APIRoute(.get, "/problems/{code}", scope: nil, upstream: .gateway),
    ]
}
