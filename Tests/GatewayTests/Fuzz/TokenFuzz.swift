import Crypto
import Foundation
import Model

@testable import Gateway

/// Credentials and what they are written in.
enum TokenFuzz {
    static let forge = TokenForge()
    /// A token that is believed, and the only one that is.
    static let signedToken = (try? Self.forge.eddsaToken(Self.forge.claims())) ?? ""
    private static let secret = SymmetricKey(size: .bits256)
    static let signedCaller =
        (try? CallerToken(caller: "alice", scopes: [.read], expiresAtMs: .max).signed(with: Self.secret)) ?? ""

    static func credential(_ text: String) -> [String] {
        func read(_ fields: [(String, String)]) -> Credential? {
            var block = FieldBlock(table: HopByHop.requestTable)
            for (name, value) in fields { block.append(name, value) }
            return try? Credential.read(block)
        }
        var faults: [String] = []
        for (name, value) in [("X-API-Key", text), ("Authorization", text), ("Authorization", "Bearer \(text)")] {
            switch read([(name, value)]) {
            case .apiKey(let key):
                if key.text.wholeMatch(of: /uc_[0-9a-f]{16}_[A-Za-z0-9_-]{43}/) == nil || !text.contains(key.text) {
                    faults.append("a key in \(value)")
                }
                if "\(key)".contains(key.secret) { faults.append("a secret that is shown") }
            case .jwt(let token):
                if name == "X-API-Key" || token.isEmpty || !text.contains(token) {
                    faults.append("a token in \(value)")
                }
            case .none?: faults.append("nobody in \(name): \(value)")
            case nil: break
            }
        }
        if read([("X-API-Key", text), ("Authorization", text)]) != nil { faults.append("two credentials: \(text)") }
        return faults
    }

    static func token(_ text: String) async -> [String] {
        guard let parts = try? JWTRules.parts(text) else {
            return text == Self.signedToken ? ["the signed token is refused"] : []
        }
        var faults: [String] = []
        let pieces = text.split(separator: ".", omittingEmptySubsequences: false)
        if pieces.count != 3 { faults.append("\(pieces.count) parts") }
        let header = pieces.first.flatMap { Base64URL.decode($0) }
            .flatMap { try? JSONSerialization.jsonObject(with: $0) as? [String: Any] }
        if header?["alg"] as? String != parts.algorithm || header?["kid"] as? String != parts.keyID {
            faults.append("another reader sees another header: \(text)")
        }
        if !JWTRules.algorithms.contains(parts.algorithm) || header?["crit"] != nil || header?["jwk"] != nil {
            faults.append("believed header: \(header ?? [:])")
        }
        guard let keys = try? await KeySet(json: Array(Self.forge.keySet.utf8)) else { return ["no keys"] }
        let original = try? JWTRules.parts(Self.signedToken)
        if keys.verifies(parts) != (parts == original) { faults.append("signature of \(text)") }
        if let believed = try? Self.forge.rules.believe(parts.claims) {
            if (try? Name.validate(believed.caller.name, field: "sub")) == nil { faults.append("caller of \(text)") }
            if !believed.until.isFinite { faults.append("a token for ever: \(text)") }
        }
        return faults
    }

    static func keySet(_ bytes: [UInt8]) async -> [String] {
        guard let keys = try? await KeySet(json: bytes) else { return [] }
        let seen = (try? JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any])?["keys"] as? [[String: Any]]
        var faults: [String] = []
        if keys.ids.isEmpty || Set(keys.ids).count != keys.ids.count { faults.append("ids \(keys.ids)") }
        for id in keys.ids {
            let entries = (seen ?? []).filter { $0["kid"] as? String == id && ($0["use"] ?? "sig") as? String == "sig" }
            let isSound = entries.contains { JWTRules.algorithms.contains($0["alg"] as? String ?? "") }
            if !isSound { faults.append("\(id) is no key for another reader") }
        }
        return faults
    }

    static func callerToken(_ text: String) -> [String] {
        let isBelieved = CallerToken(verifying: text, secret: Self.secret, nowMs: 0) != nil
        let isSigned =
            text.prefix { $0 != "." } == Self.signedCaller.prefix { $0 != "." }
            && text.drop { $0 != "." }.dropFirst().isSameCode(as: Self.signedCaller.drop { $0 != "." }.dropFirst())
        return isBelieved == isSigned ? [] : ["believed \(isBelieved), signed \(isSigned): \(text)"]
    }

    static func json(_ bytes: [UInt8]) -> [String] {
        guard let value = StrictJSON.parse(bytes) else { return [] }
        guard let other = try? JSONSerialization.jsonObject(with: Data(bytes), options: .fragmentsAllowed) else {
            return ["only we can read \(String(decoding: bytes, as: UTF8.self))"]
        }
        return Self.isSame(value, other) ? [] : ["\(value) and \(other)"]
    }

    private static func isSame(_ one: StrictJSON, _ other: Any) -> Bool {
        switch one {
        case .null: other is NSNull
        case .bool(let bool): other as? Bool == bool
        case .number(let number): (other as? NSNumber)?.doubleValue == number
        case .string(let text): other as? String == text
        case .array(let list):
            (other as? [Any]).map { $0.count == list.count && zip(list, $0).allSatisfy(Self.isSame) } == true
        case .object(let fields):
            (other as? [String: Any]).map { others in
                others.count == fields.count
                    && fields.allSatisfy { name, value in
                        others[name].map { Self.isSame(value, $0) } == true
                    }
            } == true
        }
    }
}

extension Substring {
    /// The last digit of a code in base64 has bits that mean nothing.
    fileprivate func isSameCode(as other: Substring) -> Bool {
        Base64URL.decode(self).map { $0 == Base64URL.decode(other) } == true
    }
}
