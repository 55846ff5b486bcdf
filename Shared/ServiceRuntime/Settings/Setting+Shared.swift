extension Setting {
    /// Words our keys begin with: an unknown environment variable with one of them stops the start.
    public static let sharedPrefixes = [
        "UNDERCURRENT_", "DATABASE_", "HTTP_", "METRICS_", "LOG_", "CALLER_TOKEN_", "QUERY_", "SHUTDOWN_", "OTLP_",
        "TRACE_", "BATCH_", "BREAKER_",
    ]

    /// Keys whose new value counts at once when the configuration is read again.
    static let sharedReloadable: Set<String> = ["QUERY_TIMEOUT_MS", "BATCH_TIMEOUT_MS", "HTTP_MAX_IN_FLIGHT"]

    /// Keys of one of the three services that another may find in a shared environment.
    static let keptNames: Set<String> = [
        "CONFIG_FILE", BuildVersion.commitVariable, "MEMORY_CEILING_BYTES", "RATE_LIMITER_TOKENS",
        "RATE_LIMITER_REFILL_RATE",
        "SNAPSHOT_DIR", "RETENTION_DAYS", "OBSERVATION_RETENTION_DAYS", "AUDIT_RETENTION_DAYS", "AUDIT_LEVEL",
        "FAILOVER_ENABLED",
        "USE_WORKER_THREADS", "ENABLE_SIMD", "MAX_GRAPHS_PER_SECOND", "ANSWER_MAX_AGE_MS",
    ]

    /// Pairs of whole-number keys of which the first must stay at or below (`mayEqual`) or below the second.
    static let ordered: [(low: String, high: String, mayEqual: Bool)] = [
        ("DATABASE_POOL_MIN", "DATABASE_POOL_MAX", true), ("SHUTDOWN_DRAIN_SECONDS", "SHUTDOWN_GRACE_SECONDS", false),
    ]

    /// Names with our prefixes that belong to others.
    static let foreignNames: Set<String> = ["HTTP_PROXY", "HTTPS_PROXY", "LOG_FILE"]

    /// The keys every service has.
    /// - Parameters:
    ///   - httpPort: default of HTTP_PORT.
    ///   - metricsPort: default of METRICS_PORT.
    public static func shared(httpPort: Int, metricsPort: Int) -> [Setting] {
        [
            Setting(
                "DATABASE_URL", .text, isRequired: true, isSecret: true,
                "PostgreSQL: `postgres://user:password@host:5432/name?sslmode=verify-full` or libpq keywords."),
            Setting(
                "DATABASE_URL_FILE", .file,
                "File with DATABASE_URL in its first line, instead of it; read again for each new connection."),
            Setting(
                "DATABASE_POOL_MIN", .integer(0...1_000), default: "1", "Connections kept open when idle."),
            Setting("DATABASE_POOL_MAX", .integer(1...1_000), default: "8", "Most connections."),
            Setting(
                "QUERY_TIMEOUT_MS", .integer(1...3_600_000), unit: "ms", default: "50",
                "Longest statement of an interactive read; the server itself stops it."),
            Setting(
                "BATCH_TIMEOUT_MS", .integer(1...3_600_000), unit: "ms", default: "10000",
                "Longest statement of a question that computes over much that is stored."),
            Setting(
                "UNDERCURRENT_PROFILE", .choice(["development", "staging", "production"]), default: "production",
                "What the installation is for; evidence names it, and production refuses CHAOS_ENABLED."),
            Setting(
                "CHAOS_ENABLED", .flag, default: "false",
                "Whether `POST /v1/chaos` (scope admin) may break things on purpose."),
            Setting(
                "BREAKER_FAILURES", .integer(1...1_000), default: "5",
                "So many failures of a dependency (the database, a layer, a replica) within BREAKER_WINDOW_SECONDS, and it is left alone."
            ),
            Setting(
                "BREAKER_WINDOW_SECONDS", .integer(1...3_600), unit: "s", default: "60",
                "Failures longer ago than this do not count."),
            Setting(
                "BREAKER_PAUSE_SECONDS", .integer(1...3_600), unit: "s", default: "30",
                "How long it is left alone before one question is let through; the gateway leaves a replica out longer each time in a row."
            ),
            Setting("HTTP_HOST", .text, default: "127.0.0.1", "Address the service listens on."),
            Setting(
                "HTTP_PORT", .integer(0...65_535), default: String(httpPort), "Port of the service; 0: any free one."),
            Setting(
                "HTTP_IDLE_TIMEOUT_SECONDS", .integer(1...3_600), unit: "s", default: "60",
                "A connection without traffic is closed after this time, also in the middle of a request."),
            Setting("HTTP_MAX_CONNECTIONS", .integer(1...1_000_000), default: "4096", "Most open connections."),
            Setting(
                "HTTP_MAX_IN_FLIGHT", .integer(1...1_000_000), default: "512",
                "Most requests at work; the next one gets 503 `overloaded`."),
            Setting("METRICS_HOST", .text, default: "127.0.0.1", "Address of the metrics listener."),
            Setting(
                "METRICS_PORT", .integer(0...65_535), default: String(metricsPort),
                "Port of `/metrics`, `/livez` and `/readyz` for machines; never public."),
            Setting(
                "LOG_LEVEL", .choice(["trace", "debug", "info", "notice", "warning", "error", "critical"]),
                default: "info", "Least level that is written."),
            Setting(
                "LOG_FORMAT", .choice(["auto", "json", "text"]), default: "auto",
                "`auto`: text at a terminal, else JSON."),
            Setting(
                "CALLER_TOKEN_SECRET_FILE", .file,
                "File with the secret gateway and services share, at least 32 bytes a line; the first line signs, all are accepted; read again when it changes."
            ),
            Setting(
                "SHUTDOWN_GRACE_SECONDS", .integer(1...3_600), unit: "s", default: "20",
                "Longest orderly stop; keep it below terminationGracePeriodSeconds."),
            Setting(
                "SHUTDOWN_DRAIN_SECONDS", .integer(0...600), unit: "s", default: "2",
                "How long /readyz says 503 before the listener stops."),
            Setting("OTLP_ENDPOINT", .url, "Collector for spans, `http://host:4318`; none: no export."),
            Setting(
                "TRACE_SAMPLE_RATIO", .number(0...1), default: "0.1", "Share of new traces that are exported."),
        ]
    }
}
