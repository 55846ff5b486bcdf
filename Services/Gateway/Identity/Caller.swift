import Model

/// Who sent a request, once the credential has been checked.
struct Caller: Hashable, Sendable {
    enum Credential: String, Sendable { case apiKey, jwt, certificate }

    /// At most 128 characters, printable (the rule of ``Name``).
    let name: String
    let scopes: Set<Scope>
    let credential: Credential
    /// Id of the API key; nil for a JWT.
    let keyID: String?
    /// One bucket per caller and kind of credential: two issuers of names do not spend each other's tokens.
    let limitKey: String
    /// The scopes as one number: bit n for the n-th of all.
    let scopeBits: UInt8

    init(name: String, scopes: Set<Scope>, credential: Credential, keyID: String?) {
        self.name = name
        self.scopes = scopes
        self.credential = credential
        self.keyID = keyID
        self.limitKey = "\(credential.rawValue)/\(name)"
        var bits: UInt8 = 0
        for (index, scope) in Scope.allCases.enumerated() where scopes.contains(scope) { bits |= 1 << index }
        self.scopeBits = bits
    }
}
