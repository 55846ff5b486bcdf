import Crypto
import Foundation

/// Who is behind a forwarded request: issued by the gateway after it has checked the credential, believed by the services.
///
/// Text form: base64url(JSON) "." base64url(HMAC-SHA256 of the first part), under a secret that gateway and services share.
/// Sent in the header `X-Undercurrent-Caller`; valid for seconds, so a leaked one is worth little.
public struct CallerToken: Hashable, Sendable, Codable {
    public static let headerName = "X-Undercurrent-Caller"
    /// Longest text believed; a caller name is at most 128 characters.
    public static let lengthLimit = 2_048

    public var caller: String
    public var scopes: Set<Scope>
    /// Wall-clock epoch milliseconds after which the token is refused.
    public var expiresAtMs: Int64

    public init(caller: String, scopes: Set<Scope>, expiresAtMs: Int64) {
        self.caller = caller
        self.scopes = scopes
        self.expiresAtMs = expiresAtMs
    }

    public func signed(with secret: SymmetricKey) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        let payload = Base64URL.encode(try encoder.encode(self))
        let code = HMAC<SHA256>.authenticationCode(for: Data(payload.utf8), using: secret)
        return payload + "." + Base64URL.encode(Data(code))
    }

    /// - Returns: nil for anything that was not signed with `secret` or has expired at `nowMs`.
    public init?(verifying text: String, secret: SymmetricKey, nowMs: Int64) {
        guard text.utf8.count <= Self.lengthLimit, let dot = text.firstIndex(of: "."),
            let code = Base64URL.decode(text[text.index(after: dot)...]),
            HMAC<SHA256>.isValidAuthenticationCode(code, authenticating: Data(text[..<dot].utf8), using: secret),
            let payload = Base64URL.decode(text[..<dot]),
            let token = try? JSONDecoder().decode(CallerToken.self, from: payload),
            token.expiresAtMs > nowMs
        else { return nil }
        self = token
    }
}

/// Base64 with the URL-safe alphabet and without padding (RFC 4648, section 5).
public enum Base64URL {
    public static func encode(_ data: Data) -> String {
        var text = data.base64EncodedString()
        text.replace("+", with: "-")
        text.replace("/", with: "_")
        while text.last == "=" { text.removeLast() }
        return text
    }

    public static func decode(_ text: some StringProtocol) -> Data? {
        guard !text.contains(where: { $0 == "+" || $0 == "/" || $0 == "=" }) else { return nil }
        var padded = String(text)
        padded.replace("-", with: "+")
        padded.replace("_", with: "/")
        padded += String(repeating: "=", count: (4 - padded.utf8.count % 4) % 4)
        return Data(base64Encoded: padded)
    }
}
