import Model

/// A row of `api_keys`.
struct APIKeyRecord: Hashable, Sendable {
    let id: String
    let secretHash: [UInt8]
    let caller: String
    let scopes: Set<Scope>
    let expiresAt: Timestamp?
    let revokedAt: Timestamp?
    let createdAt: Timestamp

    /// Whether `key` may be used at `now`, and by whom.
    /// - Throws: 401. A wrong secret, a revoked key and an unknown one read the same: the answer tells nothing about ids.
    func caller(presenting key: APIKeyText, now: Timestamp) throws(Problem) -> Caller {
        guard key.matches(hash: self.secretHash), self.revokedAt == nil else { throw Self.unknown }
        if let expiresAt, expiresAt <= now {
            throw Problem(.credentialExpired, detail: "The API key expired at \(expiresAt.rfc3339).")
        }
        return Caller(name: self.caller, scopes: self.scopes, credential: .apiKey, keyID: self.id)
    }

    static let unknown = Problem(.unauthenticated, detail: "The API key is unknown, revoked or wrong.")
}
