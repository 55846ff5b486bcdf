import Engine
import Logging
import Model
import Postgres

extension EvaluationEngine {
    // MARK: Ownership

    /// Takes up shards that were gained and lets go of those that were lost.
    func follow(_ trusted: [Shard: Int64]) async throws {
        let lost = Set(self.owned.filter { trusted[$0.key] != $0.value }.keys)
        if !lost.isEmpty { self.letGo(lost) }
        let gained = trusted.keys.filter { self.owned[$0] == nil }.sorted()
        guard !gained.isEmpty else { return }
        let (ends, states) = try await self.pool.withConnection { connection in
            let reader = SeriesReader(connection: connection)
            return (try await reader.evaluatedEnds(gained), try await reader.detectorStates(gained))
        }
        for shard in gained {
            self.owned[shard] = trusted[shard]
            self.stored[shard] = [:]
            self.learnt[shard] = [:]
            self.detectors[shard] = [:]
        }
        for end in ends { self.stored[end.shard]?[end.domain] = end.end }
        self.returning.formUnion(ends.map(\.shard))
        for row in states {
            do {
                let state = try DetectorStates(encoded: row.state)
                let profile = self.cache.profiles[row.domain] ?? DomainProfile(domain: row.domain)
                guard state.profile == profile else { continue }
                self.detectors[row.shard]?[row.domain] = state
                self.learnt[row.shard]?[row.domain] = row.end
            } catch {
                // Written by another version: learn anew from the observations.
                self.logger.warning("detector state cannot be read", metadata: ["domain": "\(row.domain)"])
            }
        }
        for name in self.cache.domains.keys { self.place(domain: name, shards: gained) }
    }

    func letGo(_ shards: Set<Shard>) {
        for shard in shards {
            self.owned[shard] = nil
            self.stored[shard] = nil
            self.learnt[shard] = nil
            self.detectors[shard] = nil
            for name in self.cache.domains.keys { self.cache.update(name) { $0.evaluated[shard] = nil } }
        }
        self.pending.remove(shards)
        self.returning.subtract(shards)
        self.parts = self.parts.filter { !shards.contains(Shard(event: $0.key)) }
        self.unpublished = self.unpublished.filter { !shards.contains(Shard(event: $0)) }
        self.unstored = self.unstored.filter { !shards.contains(Shard(event: $0)) }
        self.graphs.remove(shards)
    }

    /// Where evaluation of a domain goes on for some shards: after what their detectors have learnt, and at the latest with
    /// the last stored bucket, so that its graphs are in memory again.
    func place(domain name: String, shards: [Shard]) {
        let stored = self.stored
        let learnt = self.learnt
        self.cache.update(name) { domain in
            guard let clock = domain.clock else { return }
            for shard in shards {
                domain.evaluated[shard] = nil
                guard let end = stored[shard]?[name] else { continue }
                let beforeLast = clock.bucket(of: end.milliseconds) - 2
                // Without a state nothing older than the last interval has been learnt, unless under another profile.
                domain.evaluated[shard] =
                    learnt[shard]?[name].map { min(beforeLast, clock.bucket(of: $0.milliseconds) - 1) }
                    ?? beforeLast - 2 * DetectorStates.interval
            }
            domain.isPlaced = true
        }
    }

    // MARK: Evaluating

    /// Evaluates what is due until the batch is full. Returns whether evaluation came forward, be it over empty buckets.
    func evaluateBatch() -> Bool {
        let start = ContinuousClock.now
        var count = 0
        self.passedOver = false
        while count < self.settings.batchEvaluations, ContinuousClock.now - start < self.settings.batchTime,
            self.pace.admits(now: ContinuousClock.now - self.startedAt)
        {
            let due = self.nextDue()
            if let revision = self.revisions.first, self.covers(revision),
                due.map({ revision.windowEnd < $0.windowEnd }) ?? true
            {
                self.revisions.removeFirst()
                self.evaluateAgain(revision)
            } else if let due {
                self.evaluate(due)
            } else {
                break
            }
            count += 1
        }
        return count > 0 || self.passedOver
    }

    /// The earliest window end that is due, over all domains.
    func nextDue() -> EvaluationSchedule.Due? {
        let shards = Set(self.owned.keys)
        guard !shards.isEmpty else { return nil }
        var best: EvaluationSchedule.Due?
        for name in self.cache.domains.keys.sorted() {
            guard let domain = self.cache.domains[name] else { continue }
            let next = domain.nextPending(owned: shards)
            if next == nil { self.passOverEmpty(name, shards: shards) }
            guard case .evaluate(let due) = self.step(domain, next: next, shards: shards) else { continue }
            if let earliest = best, earliest.windowEnd <= due.windowEnd { continue }
            best = due
        }
        return best
    }

    /// What the schedule says, unless it says to wait and that was done long enough, or in vain before a restart.
    private func step(_ domain: DomainSeries, next: Int64?, shards: Set<Shard>) -> EvaluationSchedule.Step {
        let step = self.schedule.step(domain.name, next: next)
        guard case .wait(_, let coarseMs) = step, let bucket = next, let clock = domain.clock else {
            self.waiting[domain.name] = nil
            return step
        }
        let end = clock.end(of: bucket)
        let isStored = domain.dueShards(at: bucket, owned: shards).allSatisfy {
            (self.stored[$0]?[domain.name] ?? .earliest) >= end
        }
        let now = ContinuousClock.now
        if self.waiting[domain.name]?.bucket != bucket { self.waiting[domain.name] = (bucket, now) }
        let waited = now - (self.waiting[domain.name]?.since ?? now)
        guard isStored || waited >= self.settings.partnerWait + .milliseconds(2 * coarseMs) else { return step }
        return self.schedule.step(domain.name, next: next, waits: false)
    }

    /// Nothing in the loaded, closed part is left: evaluation goes on behind it.
    private func passOverEmpty(_ name: String, shards: Set<Shard>) {
        var passedOver = false
        defer { self.passedOver = self.passedOver || passedOver }
        self.cache.update(name) { domain in
            guard let window = domain.window, let scheduled = domain.scheduled else { return }
            let last = min(window.loadedEnd, scheduled.openBucket) - 1
            let behind = shards.filter { (domain.evaluated[$0] ?? .min) < last }
            // Asked last: it goes over all nodes, and mostly nobody is behind.
            guard !behind.isEmpty, !domain.isBehindWindow(owned: shards) else { return }
            for shard in behind { domain.evaluated[shard] = last }
            passedOver = true
        }
    }

    private func evaluate(_ due: EvaluationSchedule.Due) {
        let begin = ContinuousClock.now
        guard let domain = self.cache.domains[due.domain], let clock = domain.clock else { return }
        let owned = Set(self.owned.keys)
        let shards = domain.dueShards(at: due.bucket, owned: owned)
        let events = domain.events(at: due.bucket, shards: Set(shards))
        let learning = events.filter { event in
            self.learnt[Shard(event: event)]?[due.domain].map { $0 < due.windowEnd } ?? true
        }
        var outcome = self.outcome(of: due, events: events, learning: Set(learning))
        let elapsed = begin.duration(to: .now)
        // What is stored already is only brought back to memory.
        let known = Set(shards.filter { (self.stored[$0]?[due.domain] ?? .earliest) >= due.windowEnd })
        outcome.remove(known)
        self.pending.nodeScores += outcome.nodeScores
        self.pending.eventScores += outcome.eventScores
        self.pending.findings += outcome.findings
        for shard in shards {
            let learnt = self.learnt[shard]?[due.domain]
            let previous = learnt.map { clock.bucket(of: $0.milliseconds) - 1 }
            self.learnt[shard]?[due.domain] = max(learnt ?? .earliest, due.windowEnd)
            guard !known.contains(shard) else { continue }
            self.pending.evaluations.append(
                EvaluationBatch.Evaluation(
                    shard: shard, domain: due.domain, windowEnd: due.windowEnd, bucketMs: clock.bucketMs,
                    durationUs: Int64(elapsed / .microseconds(1))))
            self.keepState(shard, due: due, previous: previous)
            self.stored[shard]?[due.domain] = due.windowEnd
        }
        self.cache.update(due.domain) { domain in
            for shard in owned { domain.evaluated[shard] = max(domain.evaluated[shard] ?? .min, due.bucket) }
        }
        self.metrics.recordEvaluation(elapsed, layers: outcome.parts.flatMap(\.evaluation.layers))
    }

    /// Evaluates and keeps what graphs and detectors need of it.
    func outcome(
        of due: EvaluationSchedule.Due, events: [String], learning: Set<String>
    ) -> DomainEvaluator.Outcome {
        guard let profile = self.cache.domains[due.domain]?.profile else { return DomainEvaluator.Outcome() }
        var states: [String: DetectorStates.Event] = [:]
        for event in events {
            states[event] = self.detectors[Shard(event: event)]?[due.domain]?.events.removeValue(forKey: event)
        }
        var outcome = DomainEvaluator.Outcome()
        self.layers.evaluating { plan in
            outcome = DomainEvaluator(
                cache: self.cache, thresholds: self.settings.thresholds, declared: self.declared,
                layerStates: plan.states
            ).evaluate(due, events: events, learning: learning, states: &states)
            outcome.planned = plan.standing
            return outcome.parts.flatMap(\.evaluation.layers)
        }
        self.pace.spend(events.count)
        for (event, state) in states {
            self.detectors[Shard(event: event)]?[due.domain, default: DetectorStates(profile: profile)].events[event] =
                state
        }
        for part in outcome.parts { self.parts[part.evaluation.event, default: [:]][due.domain] = part }
        self.unpublished.formUnion(events)
        return outcome
    }

    private func keepState(_ shard: Shard, due: EvaluationSchedule.Due, previous: Int64?) {
        guard DetectorStates.isDue(due.bucket, after: previous), let state = self.detectors[shard]?[due.domain] else {
            return
        }
        do {
            let encoded = try state.encoded()
            self.pending.detectorStates.removeAll { $0.shard == shard && $0.domain == due.domain }
            self.pending.detectorStates.append(
                EvaluationBatch.DetectorState(
                    shard: shard, domain: due.domain, windowEnd: due.windowEnd, state: encoded))
        } catch {
            self.logger.error("detector state cannot be encoded", metadata: ["error": "\(error)"])
        }
    }

    // MARK: Writing

    /// Stores what every detector has learnt by now, so that whoever comes next goes on where this replica stops. A crash costs
    /// the buckets since the last regular state; nothing else.
    func storeStates() async throws {
        for (shard, domains) in self.detectors {
            for (domain, state) in domains {
                guard let end = self.learnt[shard]?[domain] else { continue }
                self.pending.detectorStates.removeAll { $0.shard == shard && $0.domain == domain }
                self.pending.detectorStates.append(
                    EvaluationBatch.DetectorState(
                        shard: shard, domain: domain, windowEnd: end, state: try state.encoded()))
            }
        }
        try await self.flush(isCaughtUp: false)
    }

    /// Whether an evaluation that is stored has not been made again yet.
    private func isReturning(_ shard: Shard) -> Bool {
        (self.stored[shard] ?? [:]).contains { name, end in
            guard let domain = self.cache.domains[name], let clock = domain.clock,
                let next = domain.pendingStart(owned: [shard])
            else { return false }
            return next < clock.bucket(of: end.milliseconds)
        }
    }

    /// Writes what has been collected; what a stale owner collected is thrown away.
    func flush(isCaughtUp: Bool) async throws {
        self.unstored.formUnion(self.unpublished)
        self.returning = self.returning.filter(self.isReturning)
        let events = self.unstored.filter { !self.returning.contains(Shard(event: $0)) }
        let graphsAreDue = isCaughtUp || ContinuousClock.now - self.graphsWrittenAt >= self.settings.graphInterval
        var assembler = GraphAssembler(cache: self.cache, thresholds: self.settings.thresholds)
        if graphsAreDue {
            self.pending.graphs = [:]
            self.pending.recipes = [:]
            for event in events {
                let parts = Array((self.parts[event] ?? [:]).values)
                guard let graph = assembler.graph(event: event, parts: parts) else { continue }
                self.pending.graphs[event] = graph
                self.pending.recipes[event] = assembler.recipe(parts: parts)
            }
        }
        while !self.pending.isEmpty {
            let batch = self.pending
            let epochs = self.owned
            do {
                let begin = ContinuousClock.now
                let revisions = try await self.writer.write(batch, epochs: epochs)
                self.metrics.recordWrite(begin.duration(to: .now), batch: batch)
                self.graphs.publish(Array(batch.graphs.values), revisions: revisions)
                self.pending = EvaluationBatch()
                if graphsAreDue {
                    self.unstored.subtract(events)
                    self.graphsWrittenAt = .now
                }
            } catch let stale as StaleOwner {
                self.metrics.recordStaleOwner()
                self.keeper.drop(stale.shards, epochs: epochs)
                self.letGo(stale.shards)
                continue
            }
        }
        self.unpublished = []
    }
}

extension DomainEvaluator.Outcome {
    /// Takes out the rows of shards for which they are stored already.
    mutating func remove(_ shards: Set<Shard>) {
        guard !shards.isEmpty else { return }
        self.findings.removeAll { shards.contains(Shard(event: $0.event)) }
        self.nodeScores.removeAll { shards.contains($0.shard) }
        self.eventScores.removeAll { shards.contains($0.shard) }
    }
}
