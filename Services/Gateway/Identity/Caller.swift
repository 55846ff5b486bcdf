import Model

/// Who sent a request, once the credential has been checked.
struct Caller: Hashable, Sendable {
    enum Credential: String, Sendable { case apiKey, jwt }

    /// At most 128 characters, printable (the rule of ``Name``).
    let name: String
    let scopes: Set<Scope>
    let credential: Credential
    /// Id of the API key; nil for a JWT.
    let keyID: String?

    /// One bucket per caller and kind of credential: two issuers of names do not spend each other's tokens.
    var limitKey: String { "\(self.credential.rawValue)/\(self.name)" }
}
