/// Whose bucket an unauthenticated client spends from: its IPv4 address, or the /64 its IPv6 address lies in, because
/// whoever has one address of such a network has all of them.
enum PeerKey {
    /// - Parameter address: without port; nil for a client without one.
    static func of(_ address: String?) -> String {
        guard let address else { return "local" }
        guard address.contains(":") else { return address }
        var groups = address.split(separator: "%")[0].split(separator: ":", omittingEmptySubsequences: false)
        if let gap = address.firstRange(of: "::") {
            let left = address[..<gap.lowerBound].split(separator: ":")
            let right = address[gap.upperBound...].split(separator: ":")
            groups = left + Array(repeating: "0", count: max(0, 8 - left.count - right.count)) + right
        }
        // IPv4 in IPv6 clothes is IPv4.
        if groups.count >= 2, let last = groups.last, last.contains(".") { return String(last) }
        return groups.prefix(4).joined(separator: ":")
    }
}
