import Crypto
import Model
import Synchronization

/// Signs caller tokens, once per caller and half a minute: the signature is the same work for every request in it.
final class CallerTokenMint: Sendable {
    struct NoSecret: Error {}

    static let validMs: Int64 = 60_000
    static let reuseMs: Int64 = 30_000

    private struct Key: Hashable {
        let caller: String
        let scopeBits: UInt8
    }

    private let secret: @Sendable () -> SymmetricKey?
    private let cache = Mutex(BoundedMap<Key, String>(capacity: 10_000))

    /// - Parameter secret: what new tokens are signed with; asked each time, so that it can be rotated.
    init(secret: @escaping @Sendable () -> SymmetricKey?) { self.secret = secret }

    /// - Parameter nowMs: wall clock, milliseconds since 1970.
    /// - Throws: ``CallerTokenMint/NoSecret`` when there is nothing to sign with.
    func token(for caller: Caller, nowMs: Int64) throws(NoSecret) -> String {
        let key = Key(caller: caller.limitKey, scopeBits: caller.scopeBits)
        let cached = self.cache.withLock { $0[key] }
        if let (text, signedAt) = cached, nowMs >= signedAt, nowMs - signedAt < Self.reuseMs { return text }
        guard let secret = self.secret() else { throw NoSecret() }
        let token = CallerToken(caller: caller.name, scopes: caller.scopes, expiresAtMs: nowMs + Self.validMs)
        guard let text = try? token.signed(with: secret) else { throw NoSecret() }
        self.cache.withLock { $0.set(key, text, at: nowMs) }
        return text
    }
}
