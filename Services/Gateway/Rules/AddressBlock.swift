import Glibc

/// A block of addresses: `192.0.2.0/24`, `2001:db8::/32`, or one address.
struct AddressBlock: Hashable, Sendable {
    private let bytes: [UInt8]
    private let bits: Int

    /// - Returns: nil unless `text` is an address and a length that fits it.
    init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let bytes = Self.bytes(String(parts[0])) else { return nil }
        var bits = bytes.count * 8
        if parts.count == 2 {
            guard let given = Int(parts[1]), (0...bits).contains(given), !parts[1].hasPrefix("+") else { return nil }
            bits = given
        }
        self.bytes = bytes
        self.bits = bits
    }

    func contains(_ address: String) -> Bool {
        guard let other = Self.bytes(address), other.count == self.bytes.count else { return false }
        for index in 0..<self.bits
        where self.bytes[index / 8] << (index % 8) & 0x80 != other[index / 8] << (index % 8) & 0x80 {
            return false
        }
        return true
    }

    /// Four or sixteen bytes; IPv4 in IPv6 clothes is IPv4.
    private static func bytes(_ address: String) -> [UInt8]? {
        var four = in_addr()
        if inet_pton(AF_INET, address, &four) == 1 { return withUnsafeBytes(of: four) { Array($0) } }
        var sixteen = in6_addr()
        guard inet_pton(AF_INET6, address, &sixteen) == 1 else { return nil }
        let bytes = withUnsafeBytes(of: sixteen) { Array($0) }
        let mapped: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]
        return bytes.starts(with: mapped) ? Array(bytes.suffix(4)) : bytes
    }
}
