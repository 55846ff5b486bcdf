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
        "TLS_", "JWKS_", "JWT_", "RATE_LIMITER_", "STRANGER_LIMITER_", "UPSTREAM_", "REQUEST_", "HSTS_",
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
        Setting("JWT_ISSUER", .text, "The `iss` a token must have. Needed with JWKS_FILE."),
        Setting("JWT_AUDIENCE", .text, "The `aud` a token must have or contain. Needed with JWKS_FILE."),
        Setting("RATE_LIMITER_TOKENS", .integer(1...1_000_000), default: "1000", "Requests a caller may send at once."),
        Setting(
            "RATE_LIMITER_REFILL_RATE", .number(0.001...1_000_000), unit: "1/s", default: "1000",
            "Requests a second a caller gets back."),
        Setting(
            "STRANGER_LIMITER_TOKENS", .integer(1...1_000_000), default: "200",
            "Requests without a valid credential an address (IPv6: /64) may send at once."),
        Setting(
            "STRANGER_LIMITER_REFILL_RATE", .number(0.001...1_000_000), unit: "1/s", default: "50",
            "Requests a second such an address gets back."),
        Setting(
            "REQUEST_TIMEOUT_MS", .integer(1...3_600_000), unit: "ms", default: "30000",
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
            "Base URLs of graph-builder, separated by commas, for as long as the table of replicas names none."),
        Setting(
            "UPSTREAM_ANOMALY_PROPAGATION", .text,
            "Base URLs of anomaly-propagation, separated by commas, for as long as the table of replicas names none."),
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
        if let file = settings.optionalText("JWKS_FILE") {
            let issuer = required("JWT_ISSUER", "with JWKS_FILE")
            let audience = required("JWT_AUDIENCE", "with JWKS_FILE")
            if let issuer, let audience {
                jwt = JWT(keySetFile: file, rules: JWTRules(issuer: issuer, audience: audience))
            }
        }
        var fallback: [Upstream: [String]] = [:]
        for (name, upstream) in [
            ("UPSTREAM_GRAPH_BUILDER", Upstream.graphBuilder),
            ("UPSTREAM_ANOMALY_PROPAGATION", .anomalyPropagation),
        ] {
            for part in settings.optionalText(name)?.split(separator: ",") ?? [] {
                if let url = ShardMap.baseURL(String(part.trimmed)) {
                    fallback[upstream, default: []].append(url)
                } else {
                    faults.append("\(name) must be base URLs (http://host:port) separated by commas")
                }
            }
        }
        guard faults.isEmpty, let certificate, let key, let secretFile else { throw SettingsError(faults: faults) }
        do throws(TLSFiles.Refusal) {
            let files = TLSFiles.Pair(certificateFile: certificate, keyFile: key)
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
        self.door = DoorSettings(settings)
    }
}

extension DoorSettings {
    init(_ settings: ServiceSettings) {
        self.requestMs = settings.integer("REQUEST_TIMEOUT_MS")
        self.bodyStallMs = settings.integer("REQUEST_BODY_TIMEOUT_MS")
        self.inFlightLimit = settings.integer("HTTP_MAX_IN_FLIGHT")
        self.connectionLimit = settings.integer("HTTP_MAX_CONNECTIONS")
        self.idleSeconds = settings.integer("HTTP_IDLE_TIMEOUT_SECONDS")
        self.headerLimit = settings.integer("REQUEST_HEADER_BYTES")
        self.hstsSeconds = settings.integer("HSTS_SECONDS")
        self.callerPolicy = GCRA(
            burst: settings.integer("RATE_LIMITER_TOKENS"), refillPerSecond: settings.number("RATE_LIMITER_REFILL_RATE")
        )
        self.peerPolicy = GCRA(
            burst: settings.integer("STRANGER_LIMITER_TOKENS"),
            refillPerSecond: settings.number("STRANGER_LIMITER_REFILL_RATE"))
    }
}
