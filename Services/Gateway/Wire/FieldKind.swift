/// What the gateway knows about a header field by its name.
enum FieldKind: UInt8, Sendable {
    /// Nothing: it crosses the gateway unchanged.
    case other
    case connection, contentLength, transferEncoding, contentEncoding, contentType, expect, host, userAgent
    case authorization, apiKey, requestTimeout, traceParent, traceState, origin
    /// Never crosses the gateway.
    case withheld
}

/// Field names of one direction with their kinds. A look-up costs a comparison with the few names of the same length.
struct FieldTable: Sendable {
    private let byLength: [[(name: [UInt8], kind: FieldKind)]]
    private let ownPrefix: [UInt8]

    init(_ kinds: [String: FieldKind], ownPrefix: String) {
        var byLength: [[(name: [UInt8], kind: FieldKind)]] = []
        for (name, kind) in kinds {
            while byLength.count <= name.utf8.count { byLength.append([]) }
            byLength[name.utf8.count].append((Array(name.utf8), kind))
        }
        self.byLength = byLength
        self.ownPrefix = Array(ownPrefix.utf8)
    }

    /// - Parameter name: in any case.
    func kind(of name: UnsafeRawBufferPointer) -> FieldKind {
        if name.count < self.byLength.count {
            for candidate in self.byLength[name.count] where Self.isEqual(name, candidate.name) {
                return candidate.kind
            }
        }
        guard name.count >= self.ownPrefix.count,
            Self.isEqual(UnsafeRawBufferPointer(rebasing: name[..<self.ownPrefix.count]), self.ownPrefix)
        else { return .other }
        return .withheld
    }

    /// Same length and, but for the case of `text`, the same bytes.
    private static func isEqual(_ text: UnsafeRawBufferPointer, _ lower: [UInt8]) -> Bool {
        for index in 0..<lower.count {
            let byte = text[index]
            let folded = (0x41...0x5A).contains(byte) ? byte | 0x20 : byte
            guard folded == lower[index] else { return false }
        }
        return true
    }
}
