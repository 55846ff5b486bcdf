import Crypto
import Foundation
import Model
import Testing

@Suite("Caller tokens")
struct CallerTokenTests {
    private let secret = SymmetricKey(data: Data(repeating: 7, count: 32))
    private let token = CallerToken(caller: "desk", scopes: [.read, .ingest], expiresAtMs: 1_000)

    private func verified(_ text: String, nowMs: Int64 = 999) -> CallerToken? {
        CallerToken(verifying: text, secret: self.secret, nowMs: nowMs)
    }

    @Test("what was signed is believed until it expires, and not at that instant")
    func roundTrip() throws {
        let text = try self.token.signed(with: self.secret)
        #expect(self.verified(text) == self.token)
        #expect(self.verified(text, nowMs: 1_000) == nil)
    }

    @Test("another secret's token is refused")
    func otherSecret() throws {
        let other = SymmetricKey(data: Data(repeating: 8, count: 32))
        #expect(self.verified(try self.token.signed(with: other)) == nil)
    }

    @Test("a change of any one character is refused")
    func tampered() throws {
        let text = try self.token.signed(with: self.secret)
        // The last character holds bits that base64 ignores; all others count.
        for offset in 0..<text.count - 1 {
            var characters = Array(text)
            characters[offset] = characters[offset] == "A" ? "B" : "A"
            #expect(self.verified(String(characters)) == nil, "changed at \(offset)")
        }
    }

    @Test("a payload that was exchanged under an old signature is refused")
    func exchanged() throws {
        let signed = try self.token.signed(with: self.secret).split(separator: ".")
        var stronger = self.token
        stronger.scopes.insert(.admin)
        let payload = Base64URL.encode(try JSONEncoder().encode(stronger))
        #expect(self.verified("\(payload).\(signed[1])") == nil)
    }

    @Test("texts that are no token are refused", arguments: ["", ".", "a.b", "e30.", ".e30", "a", "💥.💥", "a.b.c"])
    func garbage(text: String) { #expect(self.verified(text) == nil) }

    @Test("an overlong token is refused however well it is signed")
    func overlong() throws {
        var long = self.token
        long.caller = String(repeating: "x", count: 1_200)
        #expect(self.verified(try long.signed(with: self.secret)) != nil)
        long.caller = String(repeating: "x", count: 1_600)
        #expect(self.verified(try long.signed(with: self.secret)) == nil)
    }

    @Test("base64url has no padding and refuses the other alphabet")
    func base64() {
        for length in 0..<40 {
            let data = Data((0..<length).map { UInt8(truncatingIfNeeded: $0 &* 37 | 0xC0) })
            let text = Base64URL.encode(data)
            #expect(Base64URL.decode(text) == data)
            #expect(!text.contains { "+/=".contains($0) })
        }
        for bad in ["+A", "/A", "AA==", "A", "A A", "é"] { #expect(Base64URL.decode(bad) == nil, "\(bad)") }
    }
}
