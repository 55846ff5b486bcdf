import Foundation
import Logging
import Model
import NIOCore
import ServiceRuntime
import Telemetry

/// The gateway as a service: its keys, and how it is put together from them.
enum GatewayService: ServiceDefinition {
    static let name = "gateway"
    static let summary = "The one public door of Undercurrent: TLS, identity, limits, deadlines and routing."
    static let httpPort = 8443
    static let metricsPort = 9443

    static let settingPrefixes = [
        "TLS_", "JWKS_", "JWT_", "RATE_LIMITER_", "STRANGER_LIMITER_", "UPSTREAM_", "REQUEST_", "HSTS_", "REDIRECT_",
        "CORS_", "AUDIT_", "ADMIN_",
    ]

    static let reloadableSettings: Set<String> = [
        "RATE_LIMITER_TOKENS", "RATE_LIMITER_REFILL_RATE", "STRANGER_LIMITER_TOKENS", "STRANGER_LIMITER_REFILL_RATE",
        "REQUEST_TIMEOUT_MS",
    ]

    static let settings: [Setting] = [
        Setting(
            TLSFiles.certificateKey, .file,
            "PEM certificate chain the gateway serves with, its own first; read again when it or the key changes. Needed to serve."
        ),
        Setting(TLSFiles.privateKeyKey, .file, "PEM private key of that certificate. Needed to serve."),
        Setting(
            "JWKS_FILE", .file,
            "JSON Web Key Set whose tokens are accepted; read again when it changes; none: API keys only."),
        Setting(
            "JWKS_URL", .url,
            "The same from the web instead: read each minute and when a token names an unknown key, at most every 5 s."),
        Setting(
            "JWKS_STALE_SECONDS", .integer(60...2_592_000), unit: "s", default: "86400",
            "How long keys of JWKS_URL are believed that cannot be read again."),
        Setting(
            TLSFiles.clientAuthorityKey, .file,
            "PEM certificates of authorities: a client certificate of one of them is a credential, its URI or DNS name the caller; none: no certificate is asked for."
        ),
        Setting(
            "TLS_CLIENT_SCOPES", .text, default: "read",
            "What such a client may do, separated by commas: ingest, read, configure, admin."),
        Setting(
            "REDIRECT_PORT", .integer(0...65_535), default: "0",
            "Port of plain HTTP that answers 308 to the address with TLS; 0: none."),
        Setting(
            "CORS_ORIGINS", .text,
            "Origins (`https://app.example.com`) whose pages may read answers, separated by commas; none: no page may."),
        Setting(
            "TRACE_TRUST", .choice(TraceTrust.Rule.allCases.map(\.rawValue)), default: "credential",
            "Whose `traceparent` is continued: requests with a valid credential, trusted addresses only, or all."),
        Setting(
            "TRACE_TRUSTED_ADDRESSES", .text,
            "Blocks (`10.0.0.0/8`), separated by commas, whose `traceparent` is continued without a credential."),
        Setting(
            "MEMORY_CEILING_BYTES", .integer(64 << 20...1 << 40), unit: "bytes", default: String(1 << 30),
            "Resident memory from which work is refused, ingest at 90 % of it, computing at 95 %, reading at 100 %."),
        Setting(
            "AUDIT_LEVEL", .choice(AuditLevel.allCases.map(\.rawValue)), default: AuditLevel.changes.rawValue,
            "What `audit_log` keeps: nothing, refusals and work on keys, changed settings too, or every request."),
        Setting(
            "AUDIT_RETENTION_DAYS", .integer(1...3_650), unit: "days", default: "7", "How long `audit_log` keeps it."),
        Setting(
            "ADMIN_PORT", .integer(0...65_535), default: "0",
            "Port on 127.0.0.1, without TLS, that alone has the routes of the scope admin; 0: the public port has them."
        ),
        Setting(
            "ADMIN_WRITES", .flag, default: "false",
            "Whether that port also takes what changes something, not only reads."),
        Setting("JWT_ISSUER", .text, "The `iss` a token must have. Needed with JWKS_FILE or JWKS_URL."),
        Setting("JWT_AUDIENCE", .text, "The `aud` a token must have or contain. Needed with JWKS_FILE or JWKS_URL."),
        Setting("RATE_LIMITER_TOKENS", .integer(1...1_000_000), default: "1000", "Requests a caller may send at once."),
        Setting(
            "RATE_LIMITER_REFILL_RATE", .number(0.001...1_000_000), unit: "1/s", default: "1000",
            "Requests a second a caller gets back."),
        Setting(
            "RATE_LIMITER_SHARED", .flag, default: "false",
            "Whether a caller's limit counts over all gateways, by slices taken from PostgreSQL; else each counts alone."
        ),
        Setting(
            "STRANGER_LIMITER_TOKENS", .integer(1...1_000_000), default: "200",
            "Requests without a valid credential an address (IPv6: /64) may send at once."),
        Setting(
            "STRANGER_LIMITER_REFILL_RATE", .number(0.001...1_000_000), unit: "1/s", default: "50",
            "Requests a second such an address gets back."),
        Setting(
            "REQUEST_TIMEOUT_MS", .integer(1...DeadlineMiddleware.limitMs), unit: "ms", default: "30000",
            "Longest time from the head of a request to the last byte of its answer; caps X-Request-Timeout-Ms."),
        Setting(
            "REQUEST_BODY_TIMEOUT_MS", .integer(1...3_600_000), unit: "ms", default: "10000",
            "Longest wait for the next piece of a request's body."),
        Setting(
            "REQUEST_HEADER_BYTES", .integer(1_024...1_048_576), unit: "bytes", default: "16384",
            "Largest header of a request."),
        Setting(
            "HTTP_MAX_IN_FLIGHT", .integer(1...1_000_000), default: "2048",
            "Most requests at work; the next one gets 503 `overloaded`."),
        Setting("HTTP_MAX_CONNECTIONS", .integer(1...1_000_000), default: "10000", "Most open connections."),
        Setting(
            "HSTS_SECONDS", .integer(0...63_072_000), unit: "s", default: "31536000",
            "max-age of Strict-Transport-Security."),
        Setting(
            "UPSTREAM_GRAPH_BUILDER", .text,
            "Base URLs of graph-builder, separated by commas, for as long as the table of replicas names none; `dns+http://name:port`: every address of the name."
        ),
        Setting(
            "UPSTREAM_ANOMALY_PROPAGATION", .text,
            "Base URLs of anomaly-propagation, separated by commas; `dns+http://name:port`: every address of the name."),
    ]

    static func assemble(_ host: ServiceHost) async throws -> ServiceAssembly {
        let settings = try GatewaySettings(host.settings)
        let gateway: Gateway
        do {
            gateway = try await Gateway(
                settings: settings, pool: host.database, logger: host.logger,
                accessLog: AccessLog(
                    service: Self.name, format: host.settings.logFormat ?? LogSettings(service: Self.name).format,
                    isOn: host.settings.logLevel <= .info, metrics: host.metrics),
                metrics: host.metrics,
                tracer: host.tracer, isDraining: { host.health.isDraining },
                onRunning: { channel in
                    host.listener.set(host: settings.host, port: channel.localAddress?.port ?? 0)
                    host.health.markStarted()
                    host.logger.info(
                        "listening",
                        metadata: [
                            "address": "\(channel.localAddress?.description ?? "")", "version": "\(BuildVersion.text)",
                        ])
                })
        } catch let error as KeySetError {
            throw SettingsError(faults: ["JWKS_FILE cannot be used: \(error)"])
        }
        let core = gateway.core
        host.live.observe { settings in
            var faults: [String] = []
            // The settings have been checked; a list at fault would change none of the limits.
            core.take(DoorSettings(settings, faults: &faults))
        }
        let directory = gateway.directory
        host.health.add(
            HealthMonitor.Check("shard map", stopsTraffic: false) {
                directory.age.map { $0 > HealthCheck.mapAgeLimit } ?? true ? "the shard map is old" : nil
            })
        return ServiceAssembly(services: gateway.services)
    }
}

extension GatewaySettings {
    /// - Throws: ``SettingsError`` naming every key at fault.
    init(_ settings: ServiceSettings) throws(SettingsError) {
        var faults: [String] = []
        func required(_ key: String, _ why: String) -> String? {
            if let value = settings.optionalText(key) { return value }
            faults.append("\(key) is required \(why)")
            return nil
        }
        let certificate = required(TLSFiles.certificateKey, "to serve")
        let key = required(TLSFiles.privateKeyKey, "to serve")
        let secretFile = required("CALLER_TOKEN_SECRET_FILE", "to serve")
        var jwt: JWT?
        var source = settings.optionalText("JWKS_FILE").map { JWT.Source.file($0) }
        if let url = settings.optionalText("JWKS_URL") {
            if source != nil { faults.append("JWKS_FILE and JWKS_URL exclude each other") }
            source = .url(url, staleSeconds: settings.integer("JWKS_STALE_SECONDS"))
        }
        if let source {
            let issuer = required("JWT_ISSUER", "with JWKS_FILE or JWKS_URL")
            let audience = required("JWT_AUDIENCE", "with JWKS_FILE or JWKS_URL")
            if let issuer, let audience {
                jwt = JWT(source: source, rules: JWTRules(issuer: issuer, audience: audience))
            }
        }
        let door = DoorSettings(settings, faults: &faults)
        var fallback: [Upstream: [String]] = [:]
        var names: [Upstream: [ServiceName]] = [:]
        for (name, upstream) in [
            ("UPSTREAM_GRAPH_BUILDER", Upstream.graphBuilder),
            ("UPSTREAM_ANOMALY_PROPAGATION", .anomalyPropagation),
        ] {
            for part in settings.optionalText(name)?.split(separator: ",") ?? [] {
                if let name = ServiceName(String(part.trimmed)) {
                    names[upstream, default: []].append(name)
                } else if let url = ShardMap.baseURL(String(part.trimmed)) {
                    fallback[upstream, default: []].append(url)
                } else {
                    faults.append("\(name) must be base URLs (http://host:port) separated by commas")
                }
            }
        }
        guard faults.isEmpty, let certificate, let key, let secretFile else { throw SettingsError(faults: faults) }
        do throws(TLSFiles.Refusal) {
            let files = TLSFiles.Pair(
                certificateFile: certificate, keyFile: key,
                clientAuthorityFile: settings.optionalText(TLSFiles.clientAuthorityKey))
            self.tls = try files.configuration()
            self.tlsFiles = files
        } catch {
            throw SettingsError(faults: [error.description])
        }
        let secrets = try CallerTokenSecrets(path: secretFile)
        self.callerTokenSecret = { secrets.signing }
        self.host = settings.httpHost
        self.port = settings.httpPort
        self.jwt = jwt
        self.fallback = fallback
        self.names = names
        self.door = door
        self.breaker = settings.breaker
        self.audit = Audit(
            level: AuditLevel(rawValue: settings.text("AUDIT_LEVEL")) ?? .changes,
            retentionDays: settings.integer("AUDIT_RETENTION_DAYS"))
        let redirect = settings.integer("REDIRECT_PORT")
        self.redirectPort = redirect == 0 ? nil : redirect
    }
}

extension DoorSettings {
    init(_ settings: ServiceSettings, faults: inout [String]) {
        func list<Item>(_ key: String, _ rule: String, _ item: (Substring) -> Item?) -> [Item] {
            let parts = settings.optionalText(key)?.split(separator: ",") ?? []
            let items = parts.compactMap { item($0.trimmed) }
            if items.count != parts.count { faults.append("\(key) must be \(rule), separated by commas") }
            return items
        }
        self.certificateScopes = Set(
            list("TLS_CLIENT_SCOPES", "of \(Scope.allCases.map(\.rawValue).joined(separator: ", "))") {
                Scope(rawValue: String($0))
            })
        self.crossOrigin = CrossOrigin(
            origins: Set(list("CORS_ORIGINS", "origins (https://host)") { CrossOrigin.origin($0) }))
        self.traceTrust = TraceTrust(
            rule: TraceTrust.Rule(rawValue: settings.text("TRACE_TRUST")) ?? .credential,
            blocks: list("TRACE_TRUSTED_ADDRESSES", "addresses or blocks (10.0.0.0/8)") { AddressBlock($0) })
        self.memoryCeiling = settings.integer("MEMORY_CEILING_BYTES")
        self.requestMs = settings.integer("REQUEST_TIMEOUT_MS")
        self.bodyStallMs = settings.integer("REQUEST_BODY_TIMEOUT_MS")
        self.inFlightLimit = settings.integer("HTTP_MAX_IN_FLIGHT")
        self.connectionLimit = settings.integer("HTTP_MAX_CONNECTIONS")
        self.idleSeconds = settings.integer("HTTP_IDLE_TIMEOUT_SECONDS")
        self.shutdownGraceSeconds = settings.integer("SHUTDOWN_GRACE_SECONDS")
        self.shutdownDrainSeconds = settings.integer("SHUTDOWN_DRAIN_SECONDS")
        self.headerLimit = settings.integer("REQUEST_HEADER_BYTES")
        let admin = settings.integer("ADMIN_PORT")
        self.adminPort = admin == 0 ? nil : admin
        self.hasAdminWrites = settings.flag("ADMIN_WRITES")
        self.hstsSeconds = settings.integer("HSTS_SECONDS")
        self.callerPolicy = GCRA(
            burst: settings.integer("RATE_LIMITER_TOKENS"), refillPerSecond: settings.number("RATE_LIMITER_REFILL_RATE")
        )
        self.isLimitShared = settings.flag("RATE_LIMITER_SHARED")
        self.peerPolicy = GCRA(
            burst: settings.integer("STRANGER_LIMITER_TOKENS"),
            refillPerSecond: settings.number("STRANGER_LIMITER_REFILL_RATE"))
    }
}
