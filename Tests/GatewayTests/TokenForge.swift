import Crypto
import Foundation
import Model

@testable import Gateway

/// Makes tokens and key sets, right ones and wrong ones.
struct TokenForge {
    let ecdsa = P256.Signing.PrivateKey()
    let eddsa = Curve25519.Signing.PrivateKey()
    let issuer = "https://issuer.example"
    let audience = "undercurrent"

    static let now: Double = 1_900_000_000

    var ecdsaEntry: String {
        let point = self.ecdsa.publicKey.x963Representation
        return
            #"{"kty":"EC","crv":"P-256","kid":"ec","alg":"ES256","use":"sig","x":"\#(Base64URL.encode(point[1..<33]))","#
            + #""y":"\#(Base64URL.encode(point[33..<65]))"}"#
    }

    var eddsaEntry: String {
        #"{"kty":"OKP","crv":"Ed25519","kid":"ed","alg":"EdDSA","x":"\#(Base64URL.encode(self.eddsa.publicKey.rawRepresentation))"}"#
    }

    var keySet: String { #"{"keys":[\#(self.ecdsaEntry),\#(self.eddsaEntry)]}"# }

    func claims(_ extra: String = "", subject: String = "alice", expiresIn: Double = 600) -> String {
        #"{"iss":"\#(self.issuer)","aud":"\#(self.audience)","sub":"\#(subject)","exp":\#(Self.now + expiresIn)\#(extra.isEmpty ? "" : "," + extra)}"#
    }

    /// A token with exactly this header and payload, signed by `sign`.
    static func token(header: String, claims: String, sign: (Data) throws -> Data) rethrows -> String {
        let signed = Base64URL.encode(Data(header.utf8)) + "." + Base64URL.encode(Data(claims.utf8))
        return signed + "." + Base64URL.encode(try sign(Data(signed.utf8)))
    }

    func ecdsaToken(_ claims: String, header: String = #"{"alg":"ES256","kid":"ec","typ":"JWT"}"#) throws -> String {
        try Self.token(header: header, claims: claims) { try self.ecdsa.signature(for: $0).rawRepresentation }
    }

    func eddsaToken(_ claims: String, header: String = #"{"alg":"EdDSA","kid":"ed"}"#) throws -> String {
        try Self.token(header: header, claims: claims) { try self.eddsa.signature(for: $0) }
    }

    var rules: JWTRules { JWTRules(issuer: self.issuer, audience: self.audience) }
}
