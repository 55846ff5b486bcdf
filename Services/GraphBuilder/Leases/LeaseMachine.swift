import Model

/// Which shards this replica works for, and what to ask of the lease table next. A value without I/O: the shell
/// (``LeaseKeeper``) carries out the steps and reports what became of them.
///
/// The database decides who owns a shard, by its own clock. A holder trusts a lease only for half of its validity, counted
/// by its own monotonic clock from the moment the renewal was *sent*: so it has stopped before the database can give the
/// shard away, whatever the two clocks do. Writes are fenced by the epoch besides.
struct LeaseMachine: Sendable {
    /// A shard as this replica holds it.
    struct Holding: Hashable, Sendable {
        /// Grows by one with every change of owner; every write must name it.
        var epoch: Int64
        /// Monotonic time at which the renewal that was granted last had been sent.
        var grantedAt: Duration
    }

    /// What the shell has to do now.
    struct Plan: Equatable, Sendable {
        /// Shards to prolong; all that are held.
        var renew: [Shard]
        /// At most one shard to give back, when others should have it.
        var release: Shard?
        /// How many free shards to claim.
        var claim: Int
    }

    /// Full validity of a lease in the database.
    let validity: Duration
    private(set) var holdings: [Shard: Holding] = [:]

    init(validity: Duration) {
        precondition(validity > .zero, "a lease lasts for some time")
        self.validity = validity
    }

    /// Time between renewals: four of them fit into the half for which a lease is trusted.
    var renewalInterval: Duration { self.validity / 8 }

    /// How many shards each of `alive` replicas should hold: 64 / alive, rounded up.
    static func target(alive: Int) -> Int {
        let replicas = max(1, alive)
        return (Shard.count + replicas - 1) / replicas
    }

    /// - Parameter alive: replicas whose registration is valid, this one included.
    func plan(alive: Int) -> Plan {
        let target = Self.target(alive: alive)
        let held = self.holdings.keys.sorted()
        return Plan(
            renew: held,
            // One at a time, so that a change of size moves the work gradually.
            release: held.count > target ? held.last : nil,
            claim: max(0, target - held.count))
    }

    /// Shards that were claimed; `sentAt`: when the statement was sent.
    mutating func claimed(_ granted: [Shard: Int64], sentAt: Duration) {
        for (shard, epoch) in granted { self.holdings[shard] = Holding(epoch: epoch, grantedAt: sentAt) }
    }

    /// Shards whose renewal the database confirmed, with their epochs. What is held but missing has been lost.
    /// - Returns: the lost ones.
    mutating func renewed(_ granted: [Shard: Int64], asked: [Shard], sentAt: Duration) -> [Shard] {
        var lost: [Shard] = []
        for shard in asked {
            guard let holding = self.holdings[shard] else { continue }
            if granted[shard] == holding.epoch {
                self.holdings[shard]?.grantedAt = max(holding.grantedAt, sentAt)
            } else {
                self.holdings[shard] = nil
                lost.append(shard)
            }
        }
        return lost
    }

    /// A shard that was given back, or whose write was refused because the epoch is not ours any more.
    mutating func dropped(_ shard: Shard, epoch: Int64) {
        if self.holdings[shard]?.epoch == epoch { self.holdings[shard] = nil }
    }

    /// The epoch to write with, or nil when the shard is not ours or its lease is no longer trusted.
    func epoch(of shard: Shard, now: Duration) -> Int64? {
        guard let holding = self.holdings[shard], now - holding.grantedAt < self.validity / 2 else { return nil }
        return holding.epoch
    }

    /// All shards that may be worked for at `now`, with their epochs.
    func trusted(now: Duration) -> [Shard: Int64] {
        self.holdings.filter { now - $0.value.grantedAt < self.validity / 2 }.mapValues(\.epoch)
    }
}
