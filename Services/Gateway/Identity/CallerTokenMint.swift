import Crypto
import Model
import Synchronization

/// Signs caller tokens, once per caller and half a minute: the signature is the same work for every request in it.
final class CallerTokenMint: Sendable {
    struct NoSecret: Error {}

    static let validMs: Int64 = 60_000
    static let reuseMs: Int64 = 30_000

    private let secret: @Sendable () -> SymmetricKey?
    private let cache = Mutex(BoundedMap<String>(capacity: 10_000))

    /// - Parameter secret: what new tokens are signed with; asked each time, so that it can be rotated.
    init(secret: @escaping @Sendable () -> SymmetricKey?) { self.secret = secret }

    /// - Parameter nowMs: wall clock, milliseconds since 1970.
    /// - Throws: ``CallerTokenMint/NoSecret`` when there is nothing to sign with.
    func token(for caller: Caller, nowMs: Int64) throws -> String {
        let scopes = caller.scopes.map(\.rawValue).sorted().joined(separator: " ")
        let key = caller.limitKey + "\u{0}" + scopes
        let cached = self.cache.withLock { $0[key] }
        if let (text, signedAt) = cached, nowMs >= signedAt, nowMs - signedAt < Self.reuseMs { return text }
        guard let secret = self.secret() else { throw NoSecret() }
        let token = CallerToken(caller: caller.name, scopes: caller.scopes, expiresAtMs: nowMs + Self.validMs)
        let text = try token.signed(with: secret)
        self.cache.withLock { $0.set(key, text, at: nowMs) }
        return text
    }
}
