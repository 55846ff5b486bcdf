import Crypto
import Foundation
import Logging
import Model
import Testing

@testable import Gateway

@Suite("JSON Web Tokens")
struct JWTTests {
    let forge = TokenForge()
    let wallClock = Timestamp(milliseconds: Int64(TokenForge.now) * 1_000)

    private func caller(_ token: String, keySet: String? = nil) async throws -> Caller {
        let keys = try await KeySet(json: Array((keySet ?? self.forge.keySet).utf8))
        let parts = try JWTRules.parts(token)
        guard keys.verifies(parts) else { throw JWTRules.refused("is not signed by a known key") }
        return try self.forge.rules.caller(parts.claims, now: TokenForge.now)
    }

    private func status(_ token: String, keySet: String? = nil) async throws -> String {
        do {
            _ = try await self.caller(token, keySet: keySet)
            return "accepted"
        } catch let problem as Problem {
            return problem.code.rawValue
        }
    }

    @Test("good tokens of every algorithm are believed, with scopes from scope or scopes")
    func good() async throws {
        let first = try await self.caller(self.forge.ecdsaToken(self.forge.claims(#""scope":"read ingest other""#)))
        #expect(first.name == "alice")
        #expect(first.scopes == [.read, .ingest])
        let second = try await self.caller(self.forge.eddsaToken(self.forge.claims(#""scopes":["admin"]"#)))
        #expect(second.scopes == [.admin])
        let list = #"{"iss":"https://issuer.example","aud":["x","undercurrent"],"sub":"b","exp":1900000100}"#
        #expect(try await self.caller(self.forge.ecdsaToken(list)).scopes.isEmpty)
    }

    @Test("RS256 with a key from openssl is believed, a short RSA key is not")
    func rsa() async throws {
        let folder = try OpenSSL.folder()
        defer { try? FileManager.default.removeItem(at: folder) }
        func key(_ bits: Int) throws -> (path: String, entry: String) {
            let path = folder.appendingPathComponent("rsa\(bits)").path
            try OpenSSL.run(["genrsa", "-out", path, "\(bits)"])
            let text = String(decoding: try OpenSSL.run(["rsa", "-in", path, "-noout", "-modulus"]), as: UTF8.self)
            let digits = Array(text.split(separator: "=")[1].trimmingCharacters(in: .whitespacesAndNewlines))
            let bytes = stride(from: 0, to: digits.count, by: 2).compactMap {
                UInt8(String(digits[$0...$0 + 1]), radix: 16)
            }
            let modulus = Base64URL.encode(Data(bytes))
            return (path, #"{"kty":"RSA","kid":"r","alg":"RS256","n":"\#(modulus)","e":"AQAB"}"#)
        }
        let good = try key(2_048)
        let token = try TokenForge.token(header: #"{"alg":"RS256","kid":"r"}"#, claims: self.forge.claims()) { data in
            let input = folder.appendingPathComponent("input")
            try data.write(to: input)
            return try OpenSSL.run(["dgst", "-sha256", "-sign", good.path, input.path])
        }
        #expect(try await self.status(token, keySet: #"{"keys":[\#(good.entry)]}"#) == "accepted")
        let short = try key(1_024)
        await #expect(throws: KeySetError.self) { try await KeySet(json: Array(#"{"keys":[\#(short.entry)]}"#.utf8)) }
    }

    @Test("no token without a signature is believed", arguments: ["none", "None", "NONE", "nOnE", ""])
    func none(algorithm: String) async throws {
        let header = #"{"alg":"\#(algorithm)","kid":"ec"}"#
        for signature in [Data(), Data("x".utf8)] {
            let token = TokenForge.token(header: header, claims: self.forge.claims()) { _ in signature }
            #expect(try await self.status(token) == "unauthenticated")
        }
    }

    @Test(
        "the public key does not work as an HMAC secret, nor under another algorithm",
        arguments: ["HS256", "ES256", "EdDSA", "RS256"])
    func keyConfusion(algorithm: String) async throws {
        let secrets = [
            self.forge.ecdsa.publicKey.x963Representation, Data(self.forge.ecdsa.publicKey.pemRepresentation.utf8),
            Data(self.forge.ecdsaEntry.utf8),
        ]
        for secret in secrets {
            let token = TokenForge.token(header: #"{"alg":"\#(algorithm)","kid":"ec"}"#, claims: self.forge.claims()) {
                Data(HMAC<SHA256>.authenticationCode(for: $0, using: SymmetricKey(data: secret)))
            }
            #expect(try await self.status(token) == "unauthenticated")
        }
        if algorithm != "EdDSA" {
            let swapped = try self.forge.eddsaToken(self.forge.claims(), header: #"{"alg":"\#(algorithm)","kid":"ed"}"#)
            #expect(try await self.status(swapped) == "unauthenticated")
        }
    }

    @Test(
        "a kid must name a known key: nothing falls back, nothing is looked up",
        arguments: [
            #"{"alg":"ES256"}"#, #"{"alg":"ES256","kid":""}"#, #"{"alg":"ES256","kid":"other"}"#,
            #"{"alg":"ES256","kid":"../../ec"}"#, #"{"alg":"ES256","kid":"ec' OR '1'='1"}"#,
            #"{"alg":"ES256","kid":null}"#, #"{"alg":"ES256","kid":["ec"]}"#, #"{"alg":"ES256","kid":1}"#,
            #"{"alg":"ES256","kid":"ec\u0000"}"#, #"{"alg":"ES256","kid":"ed"}"#,
        ])
    func keyID(header: String) async throws {
        #expect(try await self.status(self.forge.ecdsaToken(self.forge.claims(), header: header)) == "unauthenticated")
    }

    @Test(
        "headers that bring a key, have critical extensions, or say something twice are refused",
        arguments: [
            #"{"alg":"ES256","kid":"ec","crit":["exp"]}"#, #"{"alg":"ES256","kid":"ec","crit":[]}"#,
            #"{"alg":"ES256","kid":"ec","jku":"https://evil.example"}"#, #"{"alg":"ES256","kid":"ec","jwk":{}}"#,
            #"{"alg":"ES256","kid":"ec","x5u":"https://evil.example"}"#, #"{"alg":"ES256","kid":"ec","x5c":[]}"#,
            #"{"alg":"none","kid":"ec","alg":"ES256"}"#, #"{"alg":"ES256","kid":"x","kid":"ec"}"#,
            #"{"alg":"ES256","kid":"ec","typ":"secevent+jwt"}"#, #"{"alg":"ES256","kid":"ec""#, "[]", "",
        ])
    func badHeader(header: String) async throws {
        #expect(try await self.status(self.forge.ecdsaToken(self.forge.claims(), header: header)) == "unauthenticated")
    }

    @Test("claims that say something twice are refused even when the signature holds")
    func duplicateClaims() async throws {
        for extra in [
            #""sub":"mallory""#, #""exp":9999999999"#, #""scope":"read","scope":"admin""#, #""\u0073ub":"x""#,
        ] {
            #expect(try await self.status(self.forge.ecdsaToken(self.forge.claims(extra))) == "unauthenticated")
        }
    }

    @Test("issuer, audience, subject and times are required and checked, with half a minute for clocks")
    func claims() async throws {
        let base = (iss: #""iss":"https://issuer.example""#, aud: #""aud":"undercurrent""#, sub: #""sub":"a""#)
        func verdict(_ parts: [String]) async throws -> String {
            try await self.status(self.forge.ecdsaToken("{" + parts.joined(separator: ",") + "}"))
        }
        let exp = #""exp":1900000100"#
        #expect(try await verdict([base.iss, base.aud, base.sub, exp]) == "accepted")
        #expect(try await verdict([base.aud, base.sub, exp]) == "unauthenticated")
        #expect(try await verdict([base.iss, base.sub, exp]) == "unauthenticated")
        #expect(try await verdict([base.iss, base.aud, exp]) == "unauthenticated")
        #expect(try await verdict([base.iss, base.aud, base.sub]) == "unauthenticated")
        #expect(try await verdict([#""iss":"https://other.example""#, base.aud, base.sub, exp]) == "unauthenticated")
        #expect(try await verdict([base.iss, #""aud":["a","b"]"#, base.sub, exp]) == "unauthenticated")
        #expect(try await verdict([base.iss, base.aud, base.sub, #""exp":"1900000100""#]) == "unauthenticated")
        #expect(try await verdict([base.iss, base.aud, base.sub, #""exp":1899999980"#]) == "accepted")
        #expect(try await verdict([base.iss, base.aud, base.sub, #""exp":1899999970"#]) == "credential-expired")
        #expect(try await verdict([base.iss, base.aud, base.sub, exp, #""nbf":1900000030"#]) == "accepted")
        #expect(try await verdict([base.iss, base.aud, base.sub, exp, #""nbf":1900000031"#]) == "unauthenticated")
        #expect(try await verdict([base.iss, base.aud, #""sub":"a\n""#, exp]) == "unauthenticated")
    }

    @Test("size and shape are bounded before anything is decoded")
    func shape() async throws {
        let long = try self.forge.ecdsaToken(self.forge.claims(#""x":"\#(String(repeating: "a", count: 9_000))""#))
        #expect(try await self.status(long) == "unauthenticated")
        let good = try self.forge.ecdsaToken(self.forge.claims())
        for token in ["", ".", "..", "a.b", good + ".x", good + "=", String(good.dropLast(2)), "\(good) "] {
            #expect(try await self.status(token) == "unauthenticated")
        }
        let deep = String(repeating: "[", count: 100) + String(repeating: "]", count: 100)
        #expect(try await self.status(self.forge.ecdsaToken(self.forge.claims(#""x":\#(deep)"#))) == "unauthenticated")
    }

    @Test("no changed bit of a token is believed", arguments: 1...4)
    func changedBits(seed: Int) async throws {
        let good = Array(try self.forge.ecdsaToken(self.forge.claims()).utf8)
        var random = SplitMix(seed: UInt64(seed))
        for _ in 0..<60 {
            var changed = good
            let place = Int(random.below(UInt64(good.count - 1)))
            changed[place] ^= UInt8(1 << random.below(7))
            guard let text = String(validating: changed, as: UTF8.self) else { continue }
            #expect(try await self.status(text) != "accepted")
        }
    }

    @Test("a key set with a key that could be misused is not loaded")
    func keySets() async throws {
        let entry = self.forge.ecdsaEntry
        let wrong = [
            "", "[]", "{}", #"{"keys":[]}"#, #"{"keys":[{}]}"#,
            #"{"keys":[\#(entry.replacing(#""alg":"ES256","#, with: ""))]}"#,
            #"{"keys":[\#(entry.replacing(#""kid":"ec","#, with: ""))]}"#,
            #"{"keys":[\#(entry.replacing("ES256", with: "RS256"))]}"#,
            #"{"keys":[\#(entry.replacing("ES256", with: "EdDSA"))]}"#,
            #"{"keys":[\#(entry),\#(entry)]}"#, #"{"keys":[\#(entry)],"keys":[]}"#,
            #"{"keys":[{"kty":"oct","kid":"h","alg":"HS256","k":"c2VjcmV0"}]}"#,
        ]
        for text in wrong {
            await #expect(throws: KeySetError.self, "\(text)") { try await KeySet(json: Array(text.utf8)) }
        }
        let mixed = #"{"keys":[{"kty":"oct","kid":"h","alg":"HS256","k":"c2VjcmV0"},\#(entry)]}"#
        #expect(try await KeySet(json: Array(mixed.utf8)).ids == ["ec"])
    }

    @Test("a changed file brings new keys and takes old ones away; a broken one changes nothing")
    func reload() async throws {
        let folder = try OpenSSL.folder()
        defer { try? FileManager.default.removeItem(at: folder) }
        let file = folder.appendingPathComponent("jwks.json")
        try Data(self.forge.keySet.utf8).write(to: file)
        let authority = try await JWTAuthority(
            path: file.path, rules: self.forge.rules, logger: Logger(label: "test"))
        let token = try self.forge.ecdsaToken(self.forge.claims())
        #expect(try authority.caller(presenting: token, wallClock: self.wallClock).name == "alice")
        #expect(try authority.caller(presenting: token, wallClock: self.wallClock).name == "alice")
        try Data("{".utf8).write(to: file)
        #expect(await authority.reload() != .changed)
        #expect(try authority.caller(presenting: token, wallClock: self.wallClock).name == "alice")
        try Data(#"{"keys":[\#(self.forge.eddsaEntry)]}"#.utf8).write(to: file)
        #expect(await authority.reload() == .changed)
        #expect(authority.keyIDs == ["ed"])
        #expect(throws: Problem.self) { try authority.caller(presenting: token, wallClock: self.wallClock) }
        // A remembered token is still judged by the clock.
        let other = try self.forge.eddsaToken(self.forge.claims())
        _ = try authority.caller(presenting: other, wallClock: self.wallClock)
        #expect(throws: Problem.self) {
            try authority.caller(presenting: other, wallClock: self.wallClock.advanced(byMilliseconds: 700_000))
        }
    }
}

@Suite("Strict JSON")
struct StrictJSONTests {
    @Test(
        "reads what JSON is",
        arguments: [
            ("null", StrictJSON.null), (" [1, -2.5e1] ", .array([.number(1), .number(-25)])),
            (#"{"a":{"b":[true,false]}}"#, .object(["a": .object(["b": .array([.bool(true), .bool(false)])])])),
            (#""\u00e9\ud83d\ude00\n""#, .string("é😀\n")), ("{}", .object([:])), ("[]", .array([])), ("0", .number(0)),
        ])
    func reads(text: String, value: StrictJSON) {
        #expect(StrictJSON.parse(Array(text.utf8)) == value)
    }

    @Test(
        "refuses what JSON is not",
        arguments: [
            "", " ", "{", "[1,]", #"{"a":1,}"#, #"{"a":1,"a":2}"#, #"{"a":1,"\u0061":2}"#, "01", "1.", ".5", "+1", "1e",
            "NaN", "nul", "\"\u{1}\"", #""\x""#, #""\ud800""#, #""\ud800\u0041""#, "1 2", "'a'", "1e999", #"{a:1}"#,
        ])
    func refuses(text: String) {
        #expect(StrictJSON.parse(Array(text.utf8)) == nil)
    }

    @Test("never reads past the end or crashes on damaged input", arguments: 1...10)
    func damaged(seed: Int) {
        let text = Array(#"{"iss":"a\u00e9","n":[1,2.5e-3,{"t":true}],"z":null}"#.utf8)
        var random = SplitMix(seed: UInt64(seed))
        for _ in 0..<2_000 {
            var bytes = Array(text.prefix(Int(random.below(UInt64(text.count + 1)))))
            if !bytes.isEmpty { bytes[Int(random.below(UInt64(bytes.count)))] = UInt8(random.below(256)) }
            _ = StrictJSON.parse(bytes)
        }
        #expect(StrictJSON.parse(text) != nil)
        #expect(StrictJSON.parse([0x22, 0xFF, 0x22]) == nil)
    }
}
