import Model

/// The latest credential on one connection, taken apart: a client sends the same one with every request, and reading it, and the
/// digest of a token above all, costs more than finding that nothing has changed. Whether it is good is asked each time.
final class CredentialMemory {
    private var kind = FieldKind.other
    private var value: [UInt8] = []
    private var credential = Credential.none
    private var digest: TokenDigest?

    /// The credential, and what a verified token is remembered by; nil: none that could be one of ours.
    /// - Throws: 401 for a credential that cannot be one of ours, 400 for several.
    func read(_ fields: FieldBlock) throws(Problem) -> (Credential, TokenDigest?) {
        let kind: FieldKind
        switch (fields.count(.apiKey), fields.count(.authorization)) {
        case (1, 0): kind = .apiKey
        case (0, 1): kind = .authorization
        default: return (try Credential.read(fields), nil)
        }
        let isSame = fields.withFirst(kind) { kind == self.kind && Self.isEqual($0, self.value) }
        if isSame == true { return (self.credential, self.digest) }
        let credential = try Credential.read(fields)
        self.kind = kind
        self.value = fields.withFirst(kind) { Array($0) } ?? []
        self.credential = credential
        self.digest = nil
        if case .jwt(let token) = credential, token.utf8.count <= JWTRules.lengthLimit {
            self.digest = TokenDigest(token)
        }
        return (credential, self.digest)
    }

    /// Takes the same time wherever they differ: several people may share a connection behind one client.
    private static func isEqual(_ given: UnsafeRawBufferPointer, _ known: [UInt8]) -> Bool {
        known.withUnsafeBytes { known in
            guard given.count == known.count else { return false }
            var difference: UInt64 = 0
            var index = 0
            while index + 8 <= known.count {
                difference |=
                    given.loadUnaligned(fromByteOffset: index, as: UInt64.self)
                    ^ known.loadUnaligned(fromByteOffset: index, as: UInt64.self)
                index += 8
            }
            while index < known.count {
                difference |= UInt64(given[index] ^ known[index])
                index += 1
            }
            return difference == 0
        }
    }
}
