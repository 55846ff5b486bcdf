import Crypto
import Model
import NIOSSL
import ServiceRuntime

/// Everything the gateway needs, parsed and checked before a port is bound.
struct GatewaySettings: Sendable {
    struct JWT: Hashable, Sendable {
        enum Source: Hashable, Sendable {
            case file(String)
            case url(String, staleSeconds: Int)
        }

        let source: Source
        let rules: JWTRules
    }

    var host: String
    /// 0: any free port.
    var port: Int
    var tls: TLSConfiguration
    /// The files it came from, to be read again when they change; nil: never.
    var tlsFiles: TLSFiles.Pair?
    /// What caller tokens are signed with; asked each time, so that it can be rotated.
    var callerTokenSecret: @Sendable () -> SymmetricKey?
    var jwt: JWT?
    /// Port of plain HTTP that redirects to TLS; nil: none.
    var redirectPort: Int?
    /// Base URLs for a service of which no live replica is known.
    var fallback: [Upstream: [String]]
    /// The same by names each of whose addresses is a replica.
    var names: [Upstream: [ServiceName]] = [:]
    /// When a replica that fails is left out.
    var breaker = CircuitBreaker.Rule()
    var door: DoorSettings
    var audit = Audit()

    struct Audit: Hashable, Sendable {
        var level = AuditLevel.changes
        var retentionDays = 7
    }
}
