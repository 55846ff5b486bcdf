import Model

/// How long a request may take, from what the client asks and what the gateway allows.
enum RequestDeadline {
    /// - Parameters:
    ///   - values: the values of `X-Request-Timeout-Ms`.
    ///   - limitMs: the gateway's own limit, which caps the client's wish.
    /// - Throws: a ``Problem`` unless there is at most one value, a whole number of at least 1.
    static func milliseconds(asked values: [String], limitMs: Int) throws(Problem) -> Int {
        guard let text = values.first else { return limitMs }
        let digits = text.utf8.allSatisfy { (0x30...0x39).contains($0) }
        guard values.count == 1, digits, !text.isEmpty, text.utf8.count <= 9, let asked = Int(text), asked >= 1 else {
            throw Problem(
                .invalidRequest,
                detail: "X-Request-Timeout-Ms must be one whole number of milliseconds, 1 to 999999999.")
        }
        return min(asked, limitMs)
    }
}
