import Glibc
import Logging
import Model
import NIOPosix
import ServiceLifecycle

/// A DNS name each of whose addresses is a replica: `dns+http://name:port`, as a headless Service of Kubernetes has.
struct ServiceName: Hashable, Sendable {
    static let scheme = "dns+"
    /// Addresses of one name that are used.
    static let addressLimit = 64

    let host: String
    let port: Int

    /// - Returns: nil unless `text` is `dns+http://name:port`.
    init?(_ text: String) {
        guard text.hasPrefix(Self.scheme), let url = ShardMap.baseURL(String(text.dropFirst(Self.scheme.count))),
            url.hasPrefix("http://"), let colon = url.lastIndex(of: ":"),
            let port = Int(url[url.index(after: colon)...]),
            (1...65_535).contains(port)
        else { return nil }
        let host = url[..<colon].dropFirst("http://".count)
        guard !host.isEmpty, !host.contains(where: { ":[]".contains($0) }) else { return nil }
        self.host = String(host)
        self.port = port
    }

    /// Asks the system's resolver, on the calling thread.
    /// - Returns: base URLs, each once and in order; nil when the name cannot be looked up now.
    func lookUp() -> [String]? {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(self.host, nil, &hints, &list) == 0, let list else { return nil }
        defer { freeaddrinfo(list) }
        var found: Set<String> = []
        for entry in sequence(first: list, next: { $0.pointee.ai_next }) where found.count < Self.addressLimit {
            var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
            guard
                getnameinfo(
                    entry.pointee.ai_addr, entry.pointee.ai_addrlen, &text, socklen_t(text.count), nil, 0,
                    NI_NUMERICHOST) == 0
            else { continue }
            let address = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            found.insert("http://\(address.contains(":") ? "[\(address)]" : address):\(self.port)")
        }
        return found.sorted()
    }
}

/// Looks the names up again and again. What cannot be looked up keeps the addresses it had.
struct NameDiscovery: Service {
    static let interval = Duration.seconds(2)

    let names: [Upstream: [ServiceName]]
    let directory: ServiceDirectory
    let logger: Logger
    var lookUp: @Sendable (ServiceName) -> [String]? = { $0.lookUp() }

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var known: [ServiceName: [String]] = [:]
            while !Task.isCancelled, !self.names.isEmpty {
                known = await self.round(known)
                try? await Task.sleep(for: Self.interval)
            }
        }
        if self.names.isEmpty { try? await gracefulShutdown() }
    }

    /// - Returns: the addresses of every name that has ever had one.
    func round(_ before: [ServiceName: [String]]) async -> [ServiceName: [String]] {
        var known = before
        for name in Set(self.names.values.joined()) {
            let lookUp = self.lookUp
            // The resolver blocks, and may do so for as long as its configuration says.
            let found = try? await NIOThreadPool.singleton.runIfActive { lookUp(name) }
            guard let addresses = found.flatMap({ $0 }) else {
                self.logger.warning(
                    "a name cannot be looked up, its last addresses stay", metadata: ["name": "\(name.host)"])
                continue
            }
            if known[name] != addresses {
                self.logger.info(
                    "addresses changed", metadata: ["name": "\(name.host)", "count": "\(addresses.count)"])
            }
            known[name] = addresses
        }
        self.directory.take(named: self.names.mapValues { $0.flatMap { known[$0] ?? [] } })
        return known
    }
}
