import Model

/// Where the services are, as PostgreSQL said at one moment. A value: the poller replaces it whole.
struct ShardMap: Hashable, Sendable {
    /// Base URL of the owner of each shard, for those with a live lease.
    var owners: [Shard: String] = [:]
    /// Base URLs of the live replicas by service.
    var replicas: [Upstream: [String]] = [:]

    /// Addresses to try for a request, best first, at most two: the owner of the shard if there is one, then others.
    ///
    /// - Parameters:
    ///   - fallback: addresses from the configuration, used for a service that has no live replica in the map.
    ///   - turn: a running number that spreads requests round robin.
    ///   - isShunned: whether an address has just failed; shunned ones come last, but come: they may be all there are.
    func candidates(
        for upstream: Upstream, shard: Shard?, fallback: [String], turn: Int,
        isShunned: (String) -> Bool
    ) -> [String] {
        let live = self.replicas[upstream] ?? []
        let pool = live.isEmpty ? fallback : live
        // The usual case: one replica, and it owns everything.
        if pool.count == 1, shard.flatMap({ self.owners[$0] }) ?? pool[0] == pool[0] { return pool }
        var ordered: [String] = []
        if let shard, let owner = self.owners[shard] { ordered.append(owner) }
        if !pool.isEmpty {
            let start = turn % pool.count
            let rotated = pool[start...] + pool[..<start]
            for address in rotated where !ordered.contains(address) { ordered.append(address) }
        }
        let preferred = ordered.filter { !isShunned($0) }
        return Array((preferred + ordered.filter { !preferred.contains($0) }).prefix(2))
    }

    /// Services name themselves in `replicas.service` by their product.
    static func upstream(named service: String) -> Upstream? {
        switch service {
        case "graph-builder": .graphBuilder
        case "anomaly-propagation": .anomalyPropagation
        default: nil
        }
    }

    /// `http://host:port` from what a replica wrote: with or without scheme, without a path.
    static func baseURL(_ address: String) -> String? {
        var text = Substring(address)
        var scheme = "http"
        for known in ["http", "https"] where text.hasPrefix(known + "://") {
            scheme = known
            text = text.dropFirst(known.utf8.count + 3)
        }
        while text.last == "/" { text.removeLast() }
        let isPlain = text.utf8.allSatisfy { byte in
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x3A, 0x5B, 0x5D, 0x5F: true
            default: false
            }
        }
        guard !text.isEmpty, text.utf8.count <= 255, isPlain else { return nil }
        return "\(scheme)://\(text)"
    }
}
