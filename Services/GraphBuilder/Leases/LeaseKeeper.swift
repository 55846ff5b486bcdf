import Logging
import Metrics
import Model
import Postgres
import ServiceLifecycle
import Synchronization

/// Keeps this replica's shard leases: carries out what ``LeaseMachine`` plans, and tells the engine what it may work for.
final class LeaseKeeper: Service {
    private struct State {
        var machine: LeaseMachine
        var revisions: [Shard: Int64] = [:]
        /// Renewals in a row that failed.
        var failures = 0
        /// Shards that wait to be given back until the engine has let go of them.
        var releasing: Shard?
    }

    let store: LeaseStore
    private let state: Mutex<State>
    private let logger: Logger
    private let metrics: LeaseMetrics
    private let start = ContinuousClock.now

    init(store: LeaseStore, logger: Logger, metrics: LeaseMetrics = LeaseMetrics()) {
        self.store = store
        self.metrics = metrics
        self.logger = logger
        self.state = Mutex(State(machine: LeaseMachine(validity: store.validity)))
    }

    private var now: Duration { ContinuousClock.now - self.start }

    /// Shards that may be worked for now, with the epoch to write under.
    var trusted: [Shard: Int64] {
        self.state.withLock { state in
            var trusted = state.machine.trusted(now: self.now)
            if let releasing = state.releasing { trusted[releasing] = nil }
            return trusted
        }
    }

    func isTrusted(_ shard: Shard) -> Bool {
        self.state.withLock { $0.releasing != shard && $0.machine.epoch(of: shard, now: self.now) != nil }
    }

    /// The database's revision of each shard of ours, as of the last renewal.
    var revisions: [Shard: Int64] { self.state.withLock { $0.revisions } }

    var heldCount: Int { self.state.withLock { $0.machine.holdings.count } }

    /// A write was refused: the shard belongs to somebody else.
    func drop(_ shards: Set<Shard>, epochs: [Shard: Int64]) {
        self.state.withLock { state in
            for shard in shards { state.machine.dropped(shard, epoch: epochs[shard] ?? -1) }
        }
        self.metrics.lost.increment(by: shards.count)
        self.logger.warning("lost shards", metadata: ["shards": "\(shards.map(\.rawValue).sorted())"])
    }

    /// Loses what it holds without giving it back, as if its process had been killed.
    func forget() { self.state.withLock { $0.machine = LeaseMachine(validity: self.store.validity) } }

    /// Renews until shutdown begins, then gives everything back.
    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                await self.round()
                try? await Task.sleep(for: self.store.validity / 8)
            }
        }
        await self.giveBack()
    }

    /// One round: renew, then claim or release what the plan says.
    func round() async {
        let held = self.state.withLock { $0.machine.holdings.keys.sorted() }
        do {
            let sentAt = self.now
            let standing = try await self.store.renew(held)
            let (plan, lost, releasing) = self.state.withLock { state in
                let lost = state.machine.renewed(standing.renewed, asked: held, sentAt: sentAt)
                state.revisions = standing.revisions
                state.failures = 0
                let plan = state.machine.plan(alive: standing.alive)
                // Work stops in this round; the lease goes back in the next, when nothing of it is in flight.
                let releasing = state.releasing
                state.releasing = releasing == nil ? plan.release : nil
                return (plan, lost, releasing)
            }
            if !lost.isEmpty {
                self.metrics.lost.increment(by: lost.count)
                self.logger.warning("leases lost", metadata: ["shards": "\(lost.map(\.rawValue))"])
            }
            if let releasing {
                try await self.store.release([releasing])
                self.metrics.released.increment()
                self.state.withLock { state in
                    if let epoch = state.machine.holdings[releasing]?.epoch {
                        state.machine.dropped(releasing, epoch: epoch)
                    }
                }
            }
            if plan.claim > 0 {
                let sentAt = self.now
                let granted = try await self.store.claim(plan.claim)
                self.state.withLock { $0.machine.claimed(granted, sentAt: sentAt) }
                if !granted.isEmpty {
                    self.metrics.claimed.increment(by: granted.count)
                    self.logger.info("claimed shards", metadata: ["count": "\(granted.count)"])
                }
            }
        } catch {
            let failures = self.state.withLock { state in
                state.failures += 1
                return state.failures
            }
            self.metrics.renewalFailures.increment()
            if failures == 1 || failures % 20 == 0 {
                self.logger.error("cannot renew leases", metadata: ["error": "\(String(reflecting: error))"])
            }
        }
    }

    private func giveBack() async {
        let held = self.state.withLock { state in
            let held = state.machine.holdings
            for (shard, holding) in held { state.machine.dropped(shard, epoch: holding.epoch) }
            return held.keys.sorted()
        }
        do {
            try await self.store.release(held)
            self.metrics.released.increment(by: held.count)
            try await self.store.leave()
        } catch {
            // They expire by themselves.
            self.logger.warning("cannot give leases back", metadata: ["error": "\(String(reflecting: error))"])
        }
    }
}
