import NIOCore

/// Which web pages of other origins may read answers (the Fetch standard, "CORS protocol"). Off unless origins are named.
struct CrossOrigin: Hashable, Sendable {
    /// `https://app.example.com`: scheme, host and maybe a port, compared as a whole.
    let origins: Set<String>

    static let none = CrossOrigin(origins: [])
    static let preflightSeconds = 600

    /// - Returns: nil unless `text` is an origin: no wildcard, no path, no user.
    static func origin(_ text: some StringProtocol) -> String? {
        for scheme in ["https://", "http://"] where text.hasPrefix(scheme) {
            let host = text.dropFirst(scheme.count)
            let isPlain = host.utf8.allSatisfy { byte in
                switch byte {
                case 0x30...0x39, 0x61...0x7A, 0x2D, 0x2E, 0x3A, 0x5B, 0x5D: true
                default: false
                }
            }
            return isPlain && !host.isEmpty ? String(text) : nil
        }
        return nil
    }

    var isOn: Bool { !self.origins.isEmpty }

    /// Lines for the answer to a page of `origin`.
    func lines(origin: String?) -> String {
        guard self.isOn else { return "" }
        guard let origin, self.origins.contains(origin) else { return "vary: origin\r\n" }
        return "access-control-allow-origin: \(origin)\r\nvary: origin\r\naccess-control-expose-headers: "
            + "etag, retry-after, ratelimit, ratelimit-policy, traceparent, location, link, age\r\n"
    }

    /// Further lines for the answer to a preflight.
    static func preflightLines(methods: [String]) -> [(String, String)] {
        [
            ("access-control-allow-methods", methods.joined(separator: ", ")),
            (
                "access-control-allow-headers",
                "authorization, x-api-key, content-type, content-encoding, if-none-match, idempotency-key, "
                    + "x-request-timeout-ms, traceparent, tracestate"
            ),
            ("access-control-max-age", String(Self.preflightSeconds)),
        ]
    }
}
