/// Where a request came from, told to the service: from the connection, never from the client's own fields.
enum ForwardedFields {
    /// Header lines with their line ends.
    /// - Parameters:
    ///   - peer: the address without port: `192.0.2.1`, `2001:db8::1`.
    ///   - host: the request's authority; left out when it holds anything but a plain host and port.
    static func lines(peer: String?, host: String?) -> String {
        let peer = peer.flatMap { self.isAddress($0) ? $0 : nil }
        let host = host.flatMap { self.isAuthority($0) ? $0 : nil }
        var parts: [String] = []
        // An IPv6 address stands in brackets and in quotes (RFC 7239, section 6).
        if let peer { parts.append(peer.contains(":") ? "for=\"[\(peer)]\"" : "for=\(peer)") }
        if let host { parts.append("host=\"\(host)\"") }
        parts.append("proto=https")
        var lines = "forwarded: \(parts.joined(separator: ";"))\r\nx-forwarded-proto: https\r\n"
        if let peer { lines += "x-forwarded-for: \(peer)\r\n" }
        if let host { lines += "x-forwarded-host: \(host)\r\n" }
        return lines
    }

    private static func isAddress(_ text: String) -> Bool {
        text.utf8.count <= 64 && text.utf8.allSatisfy { Self.isHex($0) || $0 == 0x2E || $0 == 0x3A || $0 == 0x25 }
    }

    private static func isAuthority(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.count <= 255
            && text.utf8.allSatisfy { byte in
                switch byte {
                case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x3A, 0x5B, 0x5D, 0x5F: true
                default: false
                }
            }
    }

    private static func isHex(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x46, 0x61...0x66: true
        default: false
        }
    }
}
