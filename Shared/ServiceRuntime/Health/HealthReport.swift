import Model

/// `GET /health`: the people's view.
public struct HealthReport: Codable, Hashable, Sendable {
    public enum Status: String, Codable, Sendable { case healthy = "HEALTHY", degraded = "DEGRADED" }

    public struct Metrics: Codable, Hashable, Sendable {
        /// Milliseconds of a round trip to the database; nil while it does not answer.
        public var dbLatency: Double?
        /// Layers of graphs that failed since the start.
        public var layerFailures: Int
        /// Client connections or requests at work.
        public var activeConnections: Int
        /// When a graph was built last; nil: none yet, or not this service's work.
        public var lastSuccessfulBuild: Timestamp?
        /// `none`, or what the service has fallen back to.
        public var failover: String

        public init(
            dbLatency: Double? = nil, layerFailures: Int = 0, activeConnections: Int = 0,
            lastSuccessfulBuild: Timestamp? = nil, failover: String = "none"
        ) {
            self.dbLatency = dbLatency
            self.layerFailures = layerFailures
            self.activeConnections = activeConnections
            self.lastSuccessfulBuild = lastSuccessfulBuild
            self.failover = failover
        }
    }

    public var status: Status
    public var service: String
    public var version: String
    public var metrics: Metrics
    /// State of each circuit by name: `closed`, `halfOpen`, `open`.
    public var circuits: [String: String]
    /// Why it is not HEALTHY, in words.
    public var reasons: [String]

    public init(
        status: Status, service: String, version: String, metrics: Metrics, circuits: [String: String] = [:],
        reasons: [String]
    ) {
        self.status = status
        self.service = service
        self.version = version
        self.metrics = metrics
        self.circuits = circuits
        self.reasons = reasons
    }
}
