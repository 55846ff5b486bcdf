/// The twenty checks of `correlation-engine`: what each is about and how much depends on it.
enum ReadinessCheck: String, CaseIterable, Sendable {
    case rateLimiting = "rate_limiting"
    case memoryCeiling = "memory_ceiling"
    case queryTimeout = "query_timeout"
    case criticalPathLatency = "critical_path_latency"
    case errorHandling = "error_handling"
    case sqlValidity = "sql_validity"
    case circuitBreaker = "circuit_breaker"
    case auditLogging = "audit_logging"
    case prometheusMetrics = "prometheus_metrics"
    case distributedTracing = "distributed_tracing"
    case snapshotRotation = "snapshot_rotation"
    case workerThreads = "worker_threads"
    case simd
    case anomalyCandidates = "anomaly_candidates"
    case memoryStability = "memory_stability"
    case chaos
    case healthEndpoint = "health_endpoint"
    case gracefulDegradation = "graceful_degradation"
    case loadTest = "load_test"
    case runbook

    static let component = "correlation-engine"

    enum Severity: String, Sendable, Codable, CaseIterable {
        case critical = "CRITICAL", high = "HIGH", medium = "MEDIUM", low = "LOW"
    }

    var severity: Severity {
        switch self {
        case .rateLimiting, .memoryCeiling, .queryTimeout, .criticalPathLatency, .errorHandling, .sqlValidity,
            .circuitBreaker, .auditLogging:
            .critical
        case .prometheusMetrics, .distributedTracing, .snapshotRotation, .workerThreads, .simd, .anomalyCandidates,
            .memoryStability, .chaos:
            .high
        case .healthEndpoint, .gracefulDegradation, .loadTest, .runbook: .medium
        }
    }

    var description: String {
        switch self {
        case .rateLimiting: "a caller beyond its limit gets 429 with Retry-After, and is let in again"
        case .memoryCeiling:
            "at the ceiling building is shed with MEMORY_LIMIT_EXCEEDED, graphs are served, and it resumes"
        case .queryTimeout: "a slow statement is stopped by the server at QUERY_TIMEOUT_MS, answered so, and counted"
        case .criticalPathLatency: "99 of 100 graphs out of memory are answered within 100 ms"
        case .errorHandling: "refusals are problem documents with code and trace id, and the right status"
        case .sqlValidity: "the schema is the one this version knows, and every reading route runs its statements"
        case .circuitBreaker:
            "the circuit of a layer that keeps failing opens, the others go on, and it closes after a trial"
        case .auditLogging: "a key that is made and revoked is in the audit log, each by its trace"
        case .prometheusMetrics:
            "every metric rules and panels ask for is there, and requests move those of all services"
        case .distributedTracing:
            "a caller's trace goes on through the services, and with a collector its spans are taken there"
        case .snapshotRotation: "a snapshot is made, read back and restored in a rehearsal"
        case .workerThreads: "evaluation has the threads its configuration says"
        case .simd: "vector instructions are as its configuration says"
        case .anomalyCandidates:
            "bands and severities of the candidates follow from their numbers, and the list is what is stored"
        case .memoryStability: "memory grows by less than 3 % under 20 s of reading"
        case .chaos: "ended connections and a lost worker change no graph"
        case .healthEndpoint: "livez, readyz and health answer, health with all its figures"
        case .gracefulDegradation:
            "with all layers failing or at rest graphs are answered, say why, and health is DEGRADED"
        case .loadTest: "10 s of reading by 8 callers without an error"
        case .runbook: "every alert has a page that says what to do"
        }
    }
}

/// What a check came to, and what was seen.
struct ReadinessFinding: Sendable, Hashable {
    enum Status: String, Sendable, Codable, CaseIterable {
        case pass = "PASS", fail = "FAIL", warn = "WARN", pending = "PENDING"
    }

    var status: Status
    var evidence: [String: String]

    static func pass(_ evidence: [String: String]) -> Self { Self(status: .pass, evidence: evidence) }
    static func fail(_ reason: String, _ evidence: [String: String] = [:]) -> Self {
        Self(status: .fail, evidence: evidence.merging(["reason": reason]) { $1 })
    }
    static func warn(_ reason: String, _ evidence: [String: String] = [:]) -> Self {
        Self(status: .warn, evidence: evidence.merging(["reason": reason]) { $1 })
    }
    /// Could not be tried here.
    static func pending(_ reason: String) -> Self { Self(status: .pending, evidence: ["reason": reason]) }

    /// PASS if it holds, else FAIL, with what was seen either way.
    static func judge(_ holds: Bool, _ reason: String, _ evidence: [String: String]) -> Self {
        holds ? .pass(evidence) : .fail(reason, evidence)
    }
}
