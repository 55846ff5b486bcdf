import Glibc

/// TCP ports of the loopback that nobody listens on at this moment.
public enum FreePort {
    public struct NoPort: Error {
        public let errno: CInt
    }

    /// A socket that listens there and accepts nothing; the caller closes it.
    public static func listen() throws(NoPort) -> (descriptor: CInt, port: UInt16) {
        let descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let bound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                bind(descriptor, pointer, length) == 0 && Glibc.listen(descriptor, 16) == 0
                    && getsockname(descriptor, pointer, &length) == 0
            }
        }
        guard bound else {
            defer { close(descriptor) }
            throw NoPort(errno: errno)
        }
        return (descriptor, UInt16(bigEndian: address.sin_port))
    }

    public static func find() throws(NoPort) -> Int {
        let (descriptor, port) = try Self.listen()
        close(descriptor)
        return Int(port)
    }
}
