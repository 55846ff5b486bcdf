import Model

/// What the gateway does with a service's answer, decided on its head.
enum ResponsePolicy {
    /// Bodies up to this many bytes are read whole and sent in one write; larger ones stream.
    static let collectLimit = 64 << 10

    enum Verdict: Hashable, Sendable {
        case pass
        /// The service's own words are not for the client.
        case replace(Problem)
    }

    /// A service's problem passes as it is. What else it says with an error status is not in our contract: it failed.
    static func verdict(status: Int, mediaType: @autoclosure () -> String?, upstream: Upstream) -> Verdict {
        switch status {
        case 401:
            // The client's credential was good: the service refused ours.
            return .replace(
                Problem(.upstreamFailed, detail: "\(upstream.serviceName) did not accept the gateway's caller token."))
        case 100..<200:
            return .replace(Problem(.upstreamFailed, detail: "\(upstream.serviceName) gave no final answer."))
        case 500... where !(mediaType()?.lowercased().hasPrefix("application/problem+json") ?? false):
            return .replace(Problem(.upstreamFailed, detail: "\(upstream.serviceName) failed.", retryAfter: 1))
        default:
            return .pass
        }
    }

    /// Whether a body can follow (RFC 9110, section 6.4.1).
    static func hasBody(status: Int) -> Bool { status >= 200 && status != 204 && status != 304 }
}
