import Foundation
import Model

/// What a JSON Web Token must say to be believed, apart from its signature.
struct JWTRules: Hashable, Sendable {
    /// Longest token read, in bytes.
    static let lengthLimit = 8_192
    static let algorithms: Set<String> = ["ES256", "RS256", "EdDSA"]
    /// How far clocks may be apart.
    static let leewaySeconds: Double = 30

    let issuer: String
    let audience: String

    /// A token taken apart, nothing of it believed yet.
    struct Parts: Hashable, Sendable {
        let keyID: String
        let algorithm: String
        let claims: [String: StrictJSON]
        /// What the signature is over: header "." payload.
        let signed: [UInt8]
        let signature: [UInt8]
    }

    /// Takes a token apart and checks its header: three parts, no duplicate names, `alg` of the list, a `kid`, no `crit`,
    /// and none of the fields that would bring their own key.
    static func parts(_ token: String) throws(Problem) -> Parts {
        guard token.utf8.count <= Self.lengthLimit else {
            throw self.refused("is longer than \(Self.lengthLimit) bytes")
        }
        let pieces = token.split(separator: ".", maxSplits: 3, omittingEmptySubsequences: false)
        guard pieces.count == 3, let header = self.object(pieces[0]), let claims = self.object(pieces[1]),
            let signature = Base64URL.decode(pieces[2]), !signature.isEmpty
        else { throw self.refused("cannot be read") }
        guard let algorithm = header["alg"]?.text, Self.algorithms.contains(algorithm) else {
            throw self.refused("must be signed with one of \(Self.algorithms.sorted().joined(separator: ", "))")
        }
        guard header["crit"] == nil else { throw self.refused("has critical extensions, which are not understood") }
        for name in ["jwk", "jku", "x5u", "x5c"] where header[name] != nil {
            throw self.refused("must not bring its own key (\(name))")
        }
        if let kind = header["typ"] {
            guard let text = kind.text?.lowercased(), text == "jwt" || text == "at+jwt" else {
                throw self.refused("has another typ than JWT")
            }
        }
        guard let keyID = header["kid"]?.text, (1...256).contains(keyID.utf8.count) else {
            throw self.refused("must name its key (kid)")
        }
        let signed = Array(pieces[0].utf8) + [UInt8(ascii: ".")] + Array(pieces[1].utf8)
        return Parts(keyID: keyID, algorithm: algorithm, claims: claims, signed: signed, signature: Array(signature))
    }

    /// A token whose signature and claims hold, but for the time.
    struct Believed: Hashable, Sendable {
        let caller: Caller
        /// Seconds since 1970, leeway included.
        let from: Double
        let until: Double

        /// - Parameter now: seconds since 1970.
        func caller(now: Double) throws(Problem) -> Caller {
            guard now < self.until else { throw Problem(.credentialExpired, detail: "The token has expired.") }
            guard now >= self.from else { throw JWTRules.refused("is not valid yet (nbf)") }
            return self.caller
        }
    }

    /// Checks the claims of a token whose signature holds, all but whether it is valid at this moment.
    func believe(_ claims: [String: StrictJSON]) throws(Problem) -> Believed {
        guard claims["iss"]?.text == self.issuer else { throw Self.refused("has another issuer") }
        let audiences = claims["aud"]?.list?.compactMap(\.text) ?? claims["aud"]?.text.map { [$0] } ?? []
        guard audiences.contains(self.audience) else { throw Self.refused("is for another audience") }
        guard let expiry = claims["exp"]?.double else { throw Self.refused("must expire (exp)") }
        var from = -Double.infinity
        if let start = claims["nbf"] {
            guard let start = start.double else { throw Self.refused("is not valid yet (nbf)") }
            from = start - Self.leewaySeconds
        }
        guard let subject = claims["sub"]?.text, (try? Name.validate(subject, field: "sub")) != nil else {
            throw Self.refused("must name its subject (sub) in 1 to \(Name.lengthLimit) characters")
        }
        let caller = Caller(name: subject, scopes: Self.scopes(claims), credential: .jwt, keyID: nil)
        return Believed(caller: caller, from: from, until: expiry + Self.leewaySeconds)
    }

    /// The caller of claims whose signature holds.
    /// - Parameter now: seconds since 1970.
    func caller(_ claims: [String: StrictJSON], now: Double) throws(Problem) -> Caller {
        try self.believe(claims).caller(now: now)
    }

    /// `scope`, separated by spaces, or `scopes`, an array; names we do not know belong to others and are passed over.
    static func scopes(_ claims: [String: StrictJSON]) -> Set<Scope> {
        let words = claims["scope"]?.text?.split(separator: " ").map(String.init) ?? []
        let listed = claims["scopes"]?.list?.compactMap(\.text) ?? []
        return Set((words + listed).compactMap(Scope.init(rawValue:)))
    }

    static func refused(_ clause: String) -> Problem {
        Problem(.unauthenticated, detail: "The token \(clause).")
    }

    private static func object(_ text: Substring) -> [String: StrictJSON]? {
        Base64URL.decode(text).flatMap { StrictJSON.parse(Array($0)) }?.fields
    }
}
