import Crypto
import Foundation
import Model

/// An API key as its owner holds it: `uc_<id>_<secret>`, id 16 hexadecimal digits, secret 32 random bytes in base64url.
///
/// The secret has 256 bits of entropy, so one round of SHA-256 keeps it: there is nothing to guess that a slow hash would
/// make slower. Only the hash is stored.
struct APIKeyText: Hashable, Sendable {
    static let prefix = "uc_"
    static let idLength = 16
    static let secretLength = 43

    let id: String
    let secret: String

    /// - Returns: nil unless `text` has exactly the form of a key.
    init?(_ text: String) {
        let utf8 = text.utf8
        guard utf8.count == Self.prefix.utf8.count + Self.idLength + 1 + Self.secretLength,
            text.hasPrefix(Self.prefix)
        else { return nil }
        let body = utf8.dropFirst(Self.prefix.utf8.count)
        let id = body.prefix(Self.idLength)
        let rest = body.dropFirst(Self.idLength)
        let secret = rest.dropFirst()
        guard rest.first == UInt8(ascii: "_"), id.allSatisfy(Self.isLowerHex), secret.allSatisfy(Self.isBase64URL)
        else { return nil }
        self.id = String(decoding: Array(id), as: UTF8.self)
        self.secret = String(decoding: Array(secret), as: UTF8.self)
    }

    /// A new key from the system's random source.
    static func random() -> APIKeyText {
        let id = SymmetricKey(size: .init(bitCount: 64)).withUnsafeBytes { bytes in
            bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        }
        let secret = SymmetricKey(size: .bits256).withUnsafeBytes { Base64URL.encode(Data($0)) }
        guard let key = APIKeyText("\(Self.prefix)\(id)_\(secret)") else {
            preconditionFailure("eight and thirty-two bytes always have these lengths")
        }
        return key
    }

    var text: String { "\(Self.prefix)\(self.id)_\(self.secret)" }

    /// SHA-256 of the secret's text: 32 bytes.
    var secretHash: [UInt8] { Array(SHA256.hash(data: Data(self.secret.utf8))) }

    /// Compares in a time that does not depend on where the hashes differ.
    func matches(hash stored: [UInt8]) -> Bool {
        let own = self.secretHash
        guard own.count == stored.count else { return false }
        var difference: UInt8 = 0
        for (left, right) in zip(own, stored) { difference |= left ^ right }
        return difference == 0
    }

    private static func isLowerHex(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x61...0x66).contains(byte)
    }

    private static func isBase64URL(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x5F: true
        default: false
        }
    }
}

extension APIKeyText: CustomStringConvertible, CustomDebugStringConvertible {
    /// Without the secret: a key may end in a log by accident, its secret may not.
    var description: String { "\(Self.prefix)\(self.id)_..." }
    var debugDescription: String { self.description }
}
