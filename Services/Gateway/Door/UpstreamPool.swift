import NIOCore
import NIOPosix
import NIOSSL

/// The connections of one event loop to services. Idle ones are kept for the next request of the same loop; as many are open
/// as requests run, and their number is bounded by the gateway's limit on requests.
final class UpstreamPool {
    /// Idle connections kept per replica.
    static let idleLimit = 64
    static let idleNanoseconds: Int64 = 30_000_000_000
    static let connectTimeout = TimeAmount.seconds(1)

    /// The idle connections to one replica.
    final class Shelf {
        let address: String
        var connections: [UpstreamConnection] = []
        /// No longer the one of its address.
        var isGone = false

        init(address: String) { self.address = address }
    }

    private let eventLoop: any EventLoop
    private var shelves: [String: Shelf] = [:]

    init(eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    func takeIdle(_ address: String) -> UpstreamConnection? {
        guard let shelf = self.shelves[address] else { return nil }
        // The youngest: the others may then become old enough to go.
        while let connection = shelf.connections.popLast() {
            connection.shelf = nil
            if connection.isUsable { return connection }
            connection.close()
        }
        return nil
    }

    func giveBack(_ connection: UpstreamConnection) {
        var shelf = connection.home ?? self.shelf(connection.address)
        if shelf.isGone { shelf = self.shelf(connection.address) }
        guard connection.isUsable, shelf.connections.count < Self.idleLimit else {
            connection.close()
            return
        }
        connection.idleSince = MonotonicClock.nanoseconds()
        connection.home = shelf
        connection.shelf = shelf
        shelf.connections.append(connection)
    }

    private func shelf(_ address: String) -> Shelf {
        if let shelf = self.shelves[address] { return shelf }
        let shelf = Shelf(address: address)
        self.shelves[address] = shelf
        return shelf
    }

    func connect(_ address: String) -> EventLoopFuture<UpstreamConnection> {
        guard let target = UpstreamAddress(address) else {
            return self.eventLoop.makeFailedFuture(UpstreamAddress.Unusable())
        }
        let eventLoop = self.eventLoop
        return ClientBootstrap(group: eventLoop)
            .connectTimeout(Self.connectTimeout)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if target.isSecure {
                        let context = try NIOSSLContext(configuration: .makeClientConfiguration())
                        let isName = !target.host.contains(":") && target.host.contains { $0.isLetter }
                        try channel.pipeline.syncOperations.addHandler(
                            NIOSSLClientHandler(context: context, serverHostname: isName ? target.host : nil))
                    }
                    try channel.pipeline.syncOperations.addHandler(
                        UpstreamConnection(address: address))
                }
            }
            .connect(host: target.host, port: target.port)
            .flatMapThrowing { channel in
                NIOLoopBound(
                    try channel.pipeline.syncOperations.handler(type: UpstreamConnection.self), eventLoop: eventLoop)
            }
            .assumeIsolated().map { $0.value }.nonisolated()
    }

    /// Closes what has been idle for long.
    func dropIdle(now: Int64) {
        for shelf in self.shelves.values {
            let old = shelf.connections.prefix { now - $0.idleSince > Self.idleNanoseconds }
            shelf.connections.removeFirst(old.count)
            for connection in old {
                connection.shelf = nil
                connection.close()
            }
            guard shelf.connections.isEmpty else { continue }
            shelf.isGone = true
            self.shelves[shelf.address] = nil
        }
    }

    func shut() {
        let all = self.shelves.values.flatMap(\.connections)
        self.shelves = [:]
        for connection in all {
            connection.shelf = nil
            connection.close()
        }
    }
}

/// Host and port of a base URL.
struct UpstreamAddress: Hashable, Sendable {
    struct Unusable: Error {}

    let host: String
    let port: Int
    let isSecure: Bool

    /// - Parameter url: as ``ShardMap/baseURL(_:)`` makes it.
    init?(_ url: String) {
        self.isSecure = url.hasPrefix("https://")
        let authority = Self.authority(url)
        if authority.hasPrefix("[") {
            guard let end = authority.firstIndex(of: "]") else { return nil }
            self.host = String(authority[authority.index(after: authority.startIndex)..<end])
            let rest = authority[authority.index(after: end)...]
            guard let port = Self.port(rest, isSecure: self.isSecure) else { return nil }
            self.port = port
        } else {
            let parts = authority.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            self.host = String(parts[0])
            guard !self.host.isEmpty,
                let port = Self.port(parts.count == 2 ? ":" + parts[1] : "", isSecure: self.isSecure)
            else { return nil }
            self.port = port
        }
    }

    private static func port(_ text: some StringProtocol, isSecure: Bool) -> Int? {
        if text.isEmpty { return isSecure ? 443 : 80 }
        guard text.hasPrefix(":"), let port = Int(text.dropFirst()), (1...65_535).contains(port) else { return nil }
        return port
    }

    /// What follows the scheme.
    static func authority(_ url: String) -> String {
        guard let mark = url.firstRange(of: "://") else { return url }
        return String(url[mark.upperBound...])
    }
}
