import Engine
import Model
import Postgres

extension EvaluationEngine {
    /// The standing of all domains, ascending by name. Covers shards of other replicas by what they have stored.
    func status() async throws -> [DomainStatus] {
        let others = Shard.all.filter { self.owned[$0] == nil }
        let tail = self.tail
        let (unread, ends) = try await self.pool.withConnection { connection in
            (
                try await tail?.unread(connection) ?? [:],
                others.isEmpty ? [] : try await SeriesReader(connection: connection).evaluatedEnds(others)
            )
        }
        var evaluatedElsewhere: [String: [Shard: Timestamp]] = [:]
        for end in ends { evaluatedElsewhere[end.domain, default: [:]][end.shard] = end.end }
        var names = Set(self.cache.domains.keys)
        names.formUnion(unread.keys)
        names.formUnion(self.cache.profiles.keys)
        return names.sorted().map { name in
            self.status(name, unread: unread[name], elsewhere: evaluatedElsewhere[name] ?? [:])
        }
    }

    private func status(_ name: String, unread: Timestamp?, elsewhere: [Shard: Timestamp]) -> DomainStatus {
        let domain =
            self.cache.domains[name]
            ?? DomainSeries(name: name, profile: self.cache.profiles[name] ?? DomainProfile(domain: name))
        var status = DomainStatus(
            domain: name, nodes: domain.nodes.count, events: Set(domain.nodes.map(\.key.event)).count,
            observations: nil, bucketMs: domain.clock?.bucketMs, pendingBuckets: 0, waitingBuckets: 0, waitsFor: [],
            profile: domain.profile)
        status.lastEvaluated =
            (self.stored.values.compactMap { $0[name] } + elsewhere.values).max()
        guard let clock = domain.clock else {
            // Nothing can be said about buckets yet; what was not read may settle the clock.
            status.newestObservation = domain.newestMs.map(Timestamp.init(milliseconds:))
            status.pendingBuckets = unread == nil ? 0 : 1
            return status
        }
        if domain.profile.periodMs > 0 {
            let period = WindowShape(profile: domain.profile)
                .removablePeriod(domain.profile.periodMs, bucketMs: clock.bucketMs)
            status.removesPeriod = period > 0
        }
        guard let scheduled = domain.scheduled else {
            status.pendingBuckets = unread == nil ? 0 : 1
            return status
        }
        status.newestObservation = Timestamp(milliseconds: scheduled.newestMs)
        status.watermark = Timestamp(milliseconds: scheduled.watermarkMs)
        var pending = self.pendingHere(domain, open: scheduled.openBucket)
        if pending > 0,
            case .wait(let awaited, _) = self.schedule.step(
                name, next: domain.nextPending(owned: Set(self.owned.keys)))
        {
            status.waitingBuckets = pending
            status.waitsFor = awaited
            pending = 0
        }
        pending += self.revisions.count { $0.domain == name }
        pending += self.pendingElsewhere(domain, clock: clock, open: scheduled.openBucket, ends: elsewhere)
        if let unread {
            let open = floorDivide(unread.milliseconds - clock.latenessMs, clock.bucketMs)
            pending += max(1, Int(clamping: open - scheduled.openBucket))
        }
        status.pendingBuckets = pending
        return status
    }

    /// Closed buckets with data the own shards have not evaluated; every bucket counts where data are not loaded.
    func pendingHere(_ domain: DomainSeries, open: Int64) -> Int {
        let owned = Set(self.owned.keys)
        guard let start = domain.pendingStart(owned: owned), start < open else { return 0 }
        guard let window = domain.window, domain.isPlaced else { return Int(clamping: open - start) }
        let loaded = min(open, window.loadedEnd)
        var count = max(0, Int(clamping: open - max(start, window.loadedEnd)))
        var bucket = max(start, window.base)
        while bucket < loaded, let next = window.firstOccupied(from: bucket, mask: owned.mask), next < loaded {
            if !domain.dueShards(at: next, owned: owned).isEmpty { count += 1 }
            bucket = next + 1
        }
        return count
    }

    /// Closed buckets with data in memory that the owners of other shards have not stored an evaluation of.
    private func pendingElsewhere(
        _ domain: DomainSeries, clock: DomainSeries.Clock, open: Int64, ends: [Shard: Timestamp]
    ) -> Int {
        guard let window = domain.window else { return 0 }
        let others = Set(domain.nodes.map(\.shard)).filter { self.owned[$0] == nil }
        guard !others.isEmpty else { return 0 }
        var count = 0
        for bucket in window.base..<max(window.base, min(open, window.loadedEnd)) {
            let mask = window.shardMask(bucket)
            guard mask & others.mask != 0 else { continue }
            let end = clock.end(of: bucket)
            if others.contains(where: { mask & $0.bit != 0 && (ends[$0] ?? .earliest) < end }) { count += 1 }
        }
        return count
    }

    /// Feeds the gauges.
    func report() {
        var pending = 0
        var lag: Int64 = 0
        for domain in self.cache.domains.values {
            guard let scheduled = domain.scheduled, let clock = domain.clock else { continue }
            let here = self.pendingHere(domain, open: scheduled.openBucket)
            pending += here
            if here > 0, let start = domain.pendingStart(owned: Set(self.owned.keys)) {
                lag = max(lag, scheduled.watermarkMs - start * clock.bucketMs)
            }
        }
        self.metrics.recordStanding(
            seriesBytes: self.cache.byteCount, pendingBuckets: pending, shards: self.owned.count,
            lagSeconds: Double(lag) / 1_000)
    }
}

extension EvaluationEngine {
    /// The rejected pairs of an event as of its newest evaluations here; empty when this replica has made none.
    func rejected(_ event: String) -> [RejectedPair] {
        let evaluator = DomainEvaluator(
            cache: self.cache, thresholds: self.settings.thresholds, declared: self.declared)
        return (self.parts[event] ?? [:]).values.sorted { $0.domain < $1.domain }
            .flatMap { evaluator.rejected($0) }
    }
}
