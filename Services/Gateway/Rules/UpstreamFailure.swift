import Model

/// How a call to a service can fail, and what the client is told.
enum UpstreamFailure: Error, Hashable, Sendable {
    /// No connection came about: the request was certainly not sent.
    case notConnected
    /// The connection broke, or what came back was not HTTP: the request may have been carried out.
    case broken
    case timedOut
    /// No replica is known.
    case noReplica

    /// Whether another replica may be asked.
    /// - Parameter isRepeatable: the request changes nothing (GET) and its body can be sent again.
    func allowsRetry(isRepeatable: Bool) -> Bool {
        switch self {
        case .notConnected: true
        case .broken: isRepeatable
        case .timedOut, .noReplica: false
        }
    }

    func problem(of upstream: Upstream) -> Problem {
        let name = upstream.serviceName
        return switch self {
        case .notConnected:
            Problem(.unavailable, detail: "\(name) cannot be reached at the moment.", retryAfter: 1)
        case .noReplica:
            Problem(.unavailable, detail: "No replica of \(name) is ready at the moment.", retryAfter: 2)
        case .broken:
            Problem(.upstreamFailed, detail: "\(name) broke off before it had answered.", retryAfter: 1)
        case .timedOut:
            Problem(.deadlineExceeded, detail: "\(name) did not answer before the deadline.")
        }
    }
}

extension Upstream {
    /// The name of the product that answers.
    var serviceName: String {
        switch self {
        case .gateway: "gateway"
        case .graphBuilder: "graph-builder"
        case .anomalyPropagation: "anomaly-propagation"
        }
    }
}
