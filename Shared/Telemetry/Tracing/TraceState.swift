/// What other tracing systems handed along in `tracestate`: forwarded unchanged, never read by us.
public struct TraceState: Hashable, Sendable {
    public static let memberLimit = 32
    /// Longest header believed; the specification asks to carry at least 512.
    public static let lengthLimit = 8_192

    public struct Member: Hashable, Sendable {
        public let key: String
        public let value: String
    }

    public let members: [Member]

    public init() { self.members = [] }

    /// - Returns: nil when any member is malformed, a key comes twice, or there are more than 32: the whole header is
    ///   then to be dropped.
    public init?(header: String) {
        guard header.utf8.count <= Self.lengthLimit else { return nil }
        var members: [Member] = []
        var seen = Set<String>()
        for piece in header.utf8.split(separator: 0x2C, omittingEmptySubsequences: false) {
            let trimmed = Self.trimmed(piece)
            // Empty members are allowed and mean nothing.
            if trimmed.isEmpty { continue }
            guard let equals = trimmed.firstIndex(of: 0x3D) else { return nil }
            let key = trimmed[..<equals]
            let value = trimmed[trimmed.index(after: equals)...]
            guard Self.isKey(key), Self.isValue(value), members.count < Self.memberLimit,
                let keyText = String(key), let valueText = String(value), seen.insert(keyText).inserted
            else { return nil }
            members.append(Member(key: keyText, value: valueText))
        }
        self.members = members
    }

    public var header: String { self.members.map { "\($0.key)=\($0.value)" }.joined(separator: ",") }
    public var isEmpty: Bool { self.members.isEmpty }

    private static func trimmed(_ text: Substring.UTF8View) -> Substring.UTF8View {
        var text = text
        while let first = text.first, first == 0x20 || first == 0x09 { text = text.dropFirst() }
        while let last = text.last, last == 0x20 || last == 0x09 { text = text.dropLast() }
        return text
    }

    /// `simple` of up to 256 characters, or `tenant@system` of up to 241 and 14.
    private static func isKey(_ key: Substring.UTF8View) -> Bool {
        func isPart(_ part: Substring.UTF8View, limit: Int, mayStartWithDigit: Bool) -> Bool {
            guard let first = part.first, part.count <= limit else { return false }
            guard Self.isLetter(first) || (mayStartWithDigit && Self.isDigit(first)) else { return false }
            return part.allSatisfy {
                Self.isLetter($0) || Self.isDigit($0) || $0 == 0x5F || $0 == 0x2D || $0 == 0x2A || $0 == 0x2F
            }
        }
        guard let at = key.firstIndex(of: 0x40) else { return isPart(key, limit: 256, mayStartWithDigit: false) }
        return isPart(key[..<at], limit: 241, mayStartWithDigit: true)
            && isPart(key[key.index(after: at)...], limit: 14, mayStartWithDigit: false)
    }

    /// 1 to 256 printable ASCII characters without comma and equals sign, not ending in a blank.
    private static func isValue(_ value: Substring.UTF8View) -> Bool {
        guard let last = value.last, last != 0x20, value.count <= 256 else { return false }
        return value.allSatisfy { (0x20...0x7E).contains($0) && $0 != 0x2C && $0 != 0x3D }
    }

    private static func isLetter(_ byte: UInt8) -> Bool { (0x61...0x7A).contains(byte) }
    private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }
}
