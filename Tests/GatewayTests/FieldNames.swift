import HTTPTypes

extension HTTPField.Name {
    /// A field name that is a literal of ours.
    static func known(_ text: StaticString) -> HTTPField.Name {
        guard let name = HTTPField.Name(text.description) else {
            preconditionFailure("\(text) is a literal and a valid token")
        }
        return name
    }

    static let apiKey = Self.known("X-API-Key")
    static let requestTimeout = Self.known("X-Request-Timeout-Ms")
    static let traceParent = Self.known("traceparent")
    static let forwardedFor = Self.known("X-Forwarded-For")
    static let undercurrentCaller = Self.known("X-Undercurrent-Caller")
}
