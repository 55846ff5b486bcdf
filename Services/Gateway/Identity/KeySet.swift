import Foundation
import JWTKit
import Model

/// The public keys of a JWKS file, by `kid`. A value: a changed file makes a new one, so removed keys are gone.
struct KeySet: Sendable {
    static let sizeLimit = 1 << 20
    static let countLimit = 100

    private let keys: [String: (algorithm: String, verifier: any JWTAlgorithm)]

    var ids: [String] { self.keys.keys.sorted() }

    func has(_ keyID: String) -> Bool { self.keys[keyID] != nil }

    /// - Throws: ``KeySetError`` for a file that is not a key set or holds a key that could be misused. Keys that are not
    ///   for signatures (`use` other than `sig`) and algorithms we do not accept are passed over.
    init(json bytes: [UInt8]) async throws(KeySetError) {
        guard bytes.count <= Self.sizeLimit else { throw KeySetError("is larger than \(Self.sizeLimit) bytes") }
        guard let entries = StrictJSON.parse(bytes)?.fields?["keys"]?.list else {
            throw KeySetError("is not a JSON Web Key Set")
        }
        guard entries.count <= Self.countLimit else { throw KeySetError("has more than \(Self.countLimit) keys") }
        guard let set = try? JSONDecoder().decode(Entries.self, from: Data(bytes)), set.keys.count == entries.count
        else {
            throw KeySetError("has a key that cannot be read")
        }
        var keys: [String: (algorithm: String, verifier: any JWTAlgorithm)] = [:]
        for (entry, jwk) in zip(entries, set.keys) {
            if let use = entry.fields?["use"]?.text, use != "sig" { continue }
            guard let kid = entry.fields?["kid"]?.text, (1...256).contains(kid.utf8.count) else {
                throw KeySetError("has a key without kid")
            }
            // Without `alg` the first token would choose how the key is used.
            guard let algorithm = entry.fields?["alg"]?.text else { throw KeySetError("has a key without alg: \(kid)") }
            guard JWTRules.algorithms.contains(algorithm) else { continue }
            guard keys[kid] == nil else { throw KeySetError("has two keys named \(kid)") }
            if algorithm == "RS256", let modulus = entry.fields?["n"]?.text, modulus.utf8.count * 6 < 2_040 {
                throw KeySetError("has an RSA key under 2048 bits: \(kid)")
            }
            guard let jwk, let verifier = try? await Self.verifier(jwk, kid: kid, algorithm: algorithm),
                verifier.name == algorithm
            else { throw KeySetError("has a key that does not fit its alg: \(kid)") }
            keys[kid] = (algorithm, verifier)
        }
        guard !keys.isEmpty else { throw KeySetError("has no key for \(JWTRules.algorithms.sorted())") }
        self.keys = keys
    }

    private static func verifier(_ jwk: JWK, kid: String, algorithm: String) async throws -> any JWTAlgorithm {
        let single = JWTKeyCollection()
        try await single.add(jwk: jwk)
        return try await single.getKey(for: JWKIdentifier(string: kid), alg: algorithm)
    }

    /// Whether the signature of `parts` was made with the key it names, in the way that key is declared for.
    func verifies(_ parts: JWTRules.Parts) -> Bool {
        guard let key = self.keys[parts.keyID], key.algorithm == parts.algorithm else { return false }
        return (try? key.verifier.verify(parts.signature, signs: parts.signed)) ?? false
    }

    /// Decodes what it can: an entry of an unknown kind (`kty: oct`) is nil instead of spoiling the set.
    private struct Entries: Decodable {
        struct Entry: Decodable {
            let jwk: JWK?
            init(from decoder: any Decoder) throws { self.jwk = try? JWK(from: decoder) }
        }
        let keys: [JWK?]

        init(from decoder: any Decoder) throws {
            enum Key: CodingKey { case keys }
            self.keys = try decoder.container(keyedBy: Key.self).decode([Entry].self, forKey: .keys).map(\.jwk)
        }
    }
}

/// Why a key set is not believed.
struct KeySetError: Error, Hashable, CustomStringConvertible {
    /// A clause whose subject is the key set.
    let clause: String
    init(_ clause: String) { self.clause = clause }
    var description: String { "the key set \(self.clause)" }
}
