import Foundation
import Hummingbird
import Logging
import NIOCore

/// What the framework says about the connection of a request.
struct ConnectionContext: InitializableFromSource, Sendable {
    let channel: any Channel
    let logger: Logger

    init(source: ApplicationRequestContextSource) {
        self.channel = source.channel
        self.logger = source.logger
    }

    /// The client's address without port.
    var peer: String? { self.channel.remoteAddress?.ipAddress }
}

/// Whose bucket an unauthenticated client spends from: its IPv4 address, or the /64 its IPv6 address lies in, because
/// whoever has one address of such a network has all of them.
enum PeerKey {
    /// - Parameter address: without port; nil for a client without one.
    static func of(_ address: String?) -> String {
        guard let address else { return "local" }
        guard address.contains(":") else { return address }
        var groups = address.split(separator: "%")[0].split(separator: ":", omittingEmptySubsequences: false)
        if let gap = address.range(of: "::") {
            let left = address[..<gap.lowerBound].split(separator: ":")
            let right = address[gap.upperBound...].split(separator: ":")
            groups = left + Array(repeating: "0", count: max(0, 8 - left.count - right.count)) + right
        }
        // IPv4 in IPv6 clothes is IPv4.
        if groups.count >= 2, let last = groups.last, last.contains(".") { return String(last) }
        return groups.prefix(4).joined(separator: ":")
    }
}
