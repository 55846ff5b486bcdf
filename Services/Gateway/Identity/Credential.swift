import Model

/// The credential a request carries, as text, before anything is believed about it.
enum Credential: Hashable, Sendable {
    case none
    case apiKey(APIKeyText)
    case jwt(String)

    /// - Throws: 401 for a credential that cannot be one of ours, 400 for several.
    static func read(_ fields: FieldBlock) throws(Problem) -> Credential {
        let keys = fields.values(.apiKey)
        let authorizations = fields.values(.authorization)
        guard keys.count + authorizations.count <= 1 else {
            throw Problem(.invalidRequest, detail: "Send one credential: X-API-Key or Authorization.")
        }
        if let text = keys.first { return .apiKey(try self.apiKey(text)) }
        guard let value = authorizations.first else { return .none }
        let parts = value.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: true)
        guard parts.count == 2, parts[0].lowercased() == "bearer" else {
            throw Problem(.unauthenticated, detail: "Authorization must be: Bearer, a space, an API key or a JWT.")
        }
        let token = String(parts[1].trimmed)
        if token.hasPrefix(APIKeyText.prefix) { return .apiKey(try self.apiKey(token)) }
        return .jwt(token)
    }

    private static func apiKey(_ text: String) throws(Problem) -> APIKeyText {
        guard let key = APIKeyText(String(text.trimmed)) else {
            throw Problem(.unauthenticated, detail: "The API key has not the form uc_<id>_<secret>.")
        }
        return key
    }
}
