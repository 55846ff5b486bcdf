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
        guard let token = self.bearer(value) else {
            throw Problem(.unauthenticated, detail: "Authorization must be: Bearer, a space, an API key or a JWT.")
        }
        if token.hasPrefix(APIKeyText.prefix) { return .apiKey(try self.apiKey(token)) }
        return .jwt(token)
    }

    /// What follows the word Bearer, in any case, and at least one blank.
    private static func bearer(_ value: String) -> String? {
        let utf8 = value.utf8
        let scheme = utf8.prefix(7)
        guard scheme.count == 7, zip(scheme, "bearer ".utf8).allSatisfy({ ($0 | 0x20) == $1 }) else { return nil }
        var token = utf8.dropFirst(7)
        while let first = token.first, first == 0x20 || first == 0x09 { token.removeFirst() }
        while let last = token.last, last == 0x20 || last == 0x09 { token.removeLast() }
        return token.isEmpty ? nil : String(Substring(token))
    }

    private static func apiKey(_ text: String) throws(Problem) -> APIKeyText {
        guard let key = APIKeyText(String(text.trimmed)) else {
            throw Problem(.unauthenticated, detail: "The API key has not the form uc_<id>_<secret>.")
        }
        return key
    }
}
