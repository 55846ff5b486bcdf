import Model

/// What the gateway decides about a body before it reads one byte of it.
enum BodyPolicy {
    /// Bodies up to this many bytes are read whole before a service is called: such a request can be tried again.
    static let collectLimit = 64 << 10

    enum Plan: Hashable, Sendable {
        case none
        /// Read whole, then send; `limit` in bytes.
        case collect(limit: Int)
        /// Send as it comes; `length` in bytes when declared.
        case stream(length: Int?, limit: Int)
    }

    /// - Parameter limit: of the route, in bytes; 0: the route takes no body.
    static func plan(_ framing: RequestHead.Framing, limit: Int) throws(Problem) -> Plan {
        switch framing {
        case .none:
            return .none
        case .length(let length):
            guard length <= limit else { throw self.tooLarge(limit) }
            return length <= self.collectLimit ? .collect(limit: length) : .stream(length: length, limit: limit)
        case .chunked, .open:
            // HTTP/2 may leave a request open and send no body, so this is refused only when a body comes.
            guard limit > 0 || framing == .open else { throw self.tooLarge(limit) }
            return limit <= self.collectLimit ? .collect(limit: limit) : .stream(length: nil, limit: limit)
        }
    }

    /// Only ingest takes a compressed body, and only gzip: a service must be able to bound what it unpacks.
    static func checkEncoding(_ fields: FieldBlock, route: APIRoute) throws(Problem) {
        guard fields.has(.contentEncoding) else { return }
        let values = fields.values(.contentEncoding)
        let encoding = values.count == 1 ? values[0].lowercased() : ""
        if encoding == "identity" || (encoding == "gzip" && route.scope == .ingest) { return }
        throw Problem(
            .unsupportedMediaType,
            detail: route.scope == .ingest
                ? "Content-Encoding may be gzip, once." : "This route takes no compressed body.")
    }

    static func tooLarge(_ limit: Int) -> Problem {
        Problem(
            .bodyTooLarge,
            detail: limit == 0 ? "This route takes no body." : "The body may have at most \(limit) bytes here.")
    }
}
