import NIOCore

/// Which header fields may cross the gateway (RFC 9110, section 7.6.1).
enum HopByHop {
    /// About one connection, never about the message. Lower case.
    static let names: Set<String> = [
        "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-connection",
        "proxy-authenticate", "proxy-authorization", "proxy-authentication-info", "http2-settings",
    ]

    /// What a client may not say to a service: credentials (a service believes only the caller token), where the request
    /// came from, its deadline and its trace (all set anew), the framing (written anew), and everything in our own name
    /// space. Lower case.
    static let clientNames: Set<String> = [
        "host", "authorization", "x-api-key", "cookie", "forwarded", "via", "x-real-ip", "x-forwarded-for",
        "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-request-timeout-ms", "traceparent",
        "tracestate", "baggage", "content-length", "expect",
    ]
    static let ownPrefix = "x-undercurrent-"

    /// What a service may not say to a client: the gateway sets these itself. Lower case.
    static let serviceNames: Set<String> = [
        "date", "server", "traceparent", "tracestate", "strict-transport-security", "x-content-type-options",
        "content-length", "ratelimit", "ratelimit-policy", "alt-svc",
    ]

    private static let requestKinds: [String: FieldKind] = [
        "connection": .connection, "content-length": .contentLength, "transfer-encoding": .transferEncoding,
        "content-encoding": .contentEncoding, "content-type": .contentType, "expect": .expect, "host": .host,
        "user-agent": .userAgent, "authorization": .authorization, "x-api-key": .apiKey,
        "x-request-timeout-ms": .requestTimeout, "traceparent": .traceParent, "tracestate": .traceState,
        "origin": .origin,
    ]
    private static let answerKinds: [String: FieldKind] = [
        "connection": .connection, "content-length": .contentLength, "transfer-encoding": .transferEncoding,
        "content-type": .contentType,
    ]

    static let requestTable = Self.table(Self.requestKinds, withheld: Self.clientNames)
    static let answerTable = Self.table(Self.answerKinds, withheld: Self.serviceNames)

    private static func table(_ kinds: [String: FieldKind], withheld: Set<String>) -> FieldTable {
        var all = kinds
        for name in self.names.union(withheld) where all[name] == nil { all[name] = .withheld }
        return FieldTable(all, ownPrefix: self.ownPrefix)
    }

    /// Kinds that cross; all others are set anew or withheld.
    static func crosses(_ kind: FieldKind) -> Bool {
        switch kind {
        case .other, .contentEncoding, .contentType, .userAgent, .origin: true
        default: false
        }
    }

    /// Names listed by `Connection`, lower case; at most 32 are read, more is `nil`: refuse the message.
    static func named(byConnection values: [String]) -> Set<String>? {
        var names: Set<String> = []
        for value in values {
            for part in value.split(separator: ",", maxSplits: 64) {
                let name = part.trimmed.lowercased()
                guard !name.isEmpty else { continue }
                names.insert(name)
                guard names.count <= 32 else { return nil }
            }
        }
        return names
    }

    /// The entries of `fields` that cross, in their order; nil when `Connection` is beyond its bound.
    static func crossing(_ fields: FieldBlock) -> [FieldBlock.Entry]? {
        guard fields.has(.connection), !fields.isOnly("keep-alive", "close", in: .connection) else {
            return fields.entries.filter { Self.crosses($0.kind) }
        }
        guard let listed = self.named(byConnection: fields.values(.connection)) else { return nil }
        return fields.entries.filter { Self.crosses($0.kind) && !listed.contains(fields.name($0)) }
    }
}

extension StringProtocol {
    /// Without spaces and tabs at either end: the optional white space of HTTP.
    var trimmed: SubSequence {
        var slice = self[...]
        while let first = slice.first, first == " " || first == "\t" { slice.removeFirst() }
        while let last = slice.last, last == " " || last == "\t" { slice.removeLast() }
        return slice
    }
}
