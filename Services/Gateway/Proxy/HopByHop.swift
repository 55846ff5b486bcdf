import HTTPTypes

/// Which header fields may cross the gateway (RFC 9110, section 7.6.1).
enum HopByHop {
    /// About one connection, never about the message. Lower case.
    static let names: Set<String> = [
        "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-connection",
        "proxy-authenticate", "proxy-authorization", "proxy-authentication-info", "http2-settings",
    ]

    /// What a client may not say to a service: credentials (a service believes only the caller token), where the request
    /// came from, its deadline and its trace (all set anew), the framing (the client library writes its own), and
    /// everything in our own name space. Lower case.
    static let clientNames: Set<String> = [
        "host", "authorization", "x-api-key", "cookie", "forwarded", "via", "x-real-ip", "x-forwarded-for",
        "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-request-timeout-ms", "traceparent",
        "tracestate", "baggage", "content-length", "expect",
    ]
    static let ownPrefix = "x-undercurrent-"

    /// What a service may not say to a client: the gateway sets these itself. Lower case.
    static let serviceNames: Set<String> = [
        "date", "server", "traceparent", "tracestate", "strict-transport-security", "content-length",
        "ratelimit", "ratelimit-policy", "alt-svc",
    ]

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

    /// Fields of a client's request that go on to a service, in their order; nil when `Connection` is beyond its bound.
    static func towardsService(_ fields: HTTPFields) -> HTTPFields? {
        guard let listed = self.named(byConnection: fields[values: .connection]) else { return nil }
        return self.kept(fields, dropping: listed, and: self.clientNames)
    }

    /// Fields of a service's response that go on to a client, in their order.
    static func towardsClient(_ fields: HTTPFields) -> HTTPFields {
        self.kept(
            fields, dropping: self.named(byConnection: fields[values: .connection]) ?? [], and: self.serviceNames)
    }

    private static func kept(_ fields: HTTPFields, dropping listed: Set<String>, and own: Set<String>) -> HTTPFields {
        var kept = HTTPFields()
        kept.reserveCapacity(fields.count + 8)
        for field in fields {
            let name = field.name.canonicalName
            if self.names.contains(name) || own.contains(name) || name.hasPrefix(self.ownPrefix) { continue }
            if !listed.isEmpty, listed.contains(name) { continue }
            kept.append(field)
        }
        return kept
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
