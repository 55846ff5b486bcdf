import HTTPTypes
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
    static func plan(fields: HTTPFields, limit: Int) throws(Problem) -> Plan {
        let lengths = fields[values: .contentLength]
        let isChunked = !fields[values: .transferEncoding].isEmpty
        guard lengths.count <= 1, !(isChunked && !lengths.isEmpty) else {
            throw Problem(.invalidRequest, detail: "The length of the body is declared in more than one way.")
        }
        guard let text = lengths.first else {
            // HTTP/2 may send a body without announcing it, so "no length" is not "no body" where one is allowed.
            guard isChunked || limit > 0 else { return .none }
            guard limit > 0 else { throw self.tooLarge(limit) }
            return limit <= self.collectLimit ? .collect(limit: limit) : .stream(length: nil, limit: limit)
        }
        guard !text.isEmpty, text.utf8.count <= 18, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
            let length = Int(text)
        else {
            throw Problem(.invalidRequest, detail: "Content-Length must be a whole number.")
        }
        guard length > 0 else { return .none }
        guard length <= limit else { throw self.tooLarge(limit) }
        return length <= self.collectLimit ? .collect(limit: length) : .stream(length: length, limit: limit)
    }

    /// Only ingest takes a compressed body, and only gzip: a service must be able to bound what it unpacks.
    static func checkEncoding(fields: HTTPFields, route: APIRoute) throws(Problem) {
        let values = fields[values: .contentEncoding]
        guard !values.isEmpty else { return }
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
