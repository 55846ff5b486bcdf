import Engine
import Model

extension EvaluationEngine {
    /// The newest evaluation of some events, to be made again because what it looks at has changed since. What the detectors
    /// have learnt stays: it was learnt from what there was at the time.
    struct Revision: Sendable {
        var domain: String
        var bucket: Int64
        var windowEnd: Timestamp
        /// Ascending.
        var events: [String]
    }

    private struct Place: Hashable {
        var domain: String
        var bucket: Int64
    }

    /// Tells the schedule what has been read, and finds out what that changes about evaluations already made: a domain they
    /// are compared with delivered, or data came for closed buckets.
    ///
    /// - Parameter isLevel: whether the log has been read to its end. Before, more late data are to be expected, and one
    ///   revision answers for all.
    func reschedule(isLevel: Bool) {
        for (name, domain) in self.cache.domains {
            if let scheduled = domain.scheduled, domain.window != nil {
                self.schedule.set(scheduled, for: name)
            } else {
                self.schedule.remove(name)
            }
        }
        let standing = self.layers.standing
        var events: [Place: Set<String>] = [:]
        var partners: [Place: EvaluationSchedule.Partners] = [:]
        for (event, parts) in self.parts {
            for (domain, part) in parts where self.schedule.domains[domain] != nil {
                let place = Place(domain: domain, bucket: part.bucket)
                let now = partners[place] ?? self.schedule.partners(of: domain, at: part.bucket)
                partners[place] = now
                let isLate = isLevel && part.lateVersion != self.cache.lateVersion(of: [domain] + now.ready)
                let isOfOtherLayers = isLevel && part.layers != standing
                if now != part.partners || isLate || isOfOtherLayers { events[place, default: []].insert(event) }
            }
        }
        if isLevel { self.addLateEvents(to: &events) }
        self.revisions = events.compactMap { place, events in
            guard let clock = self.cache.domains[place.domain]?.clock else { return nil }
            return Revision(
                domain: place.domain, bucket: place.bucket, windowEnd: clock.end(of: place.bucket),
                events: events.sorted())
        }.sorted { ($0.windowEnd, $0.domain) < ($1.windowEnd, $1.domain) }
    }

    /// Events whose newest data came when their bucket had been passed already.
    private func addLateEvents(to events: inout [Place: Set<String>]) {
        for (name, domain) in self.cache.domains where !domain.lateEvents.isEmpty && domain.clock != nil {
            var open = domain.lateEvents
            for (event, bucket) in domain.lateEvents {
                let shard = Shard(event: event)
                // What is not evaluated yet will be, in order.
                guard self.owned[shard] != nil, let evaluated = domain.evaluated[shard], evaluated >= bucket,
                    (self.parts[event]?[name]?.bucket ?? .min) < bucket
                else {
                    open[event] = nil
                    continue
                }
                if let part = self.parts[event]?[name] {
                    events[Place(domain: name, bucket: part.bucket)]?.remove(event)
                }
                events[Place(domain: name, bucket: bucket), default: []].insert(event)
            }
            self.cache.update(name) { $0.lateEvents = open }
        }
        events = events.filter { !$0.value.isEmpty }
    }

    /// Whether all that the evaluation looks at is in memory.
    func covers(_ revision: Revision) -> Bool {
        let ready = self.schedule.partners(of: revision.domain, at: revision.bucket).ready
        return ([revision.domain] + ready).allSatisfy { name in
            guard let domain = self.cache.domains[name], let clock = domain.clock, let window = domain.window,
                let first = domain.scheduled?.firstBucket
            else { return false }
            let bucket = clock.bucket(of: revision.windowEnd.milliseconds - 1)
            return window.base <= max(first, bucket - Int64(domain.neededBuckets)) && window.loadedEnd > bucket
        }
    }

    func evaluateAgain(_ revision: Revision) {
        let begin = ContinuousClock.now
        let partners = self.schedule.partners(of: revision.domain, at: revision.bucket)
        let due = EvaluationSchedule.Due(
            domain: revision.domain, bucket: revision.bucket, windowEnd: revision.windowEnd, partners: partners)
        // Events that have moved on since need it no more.
        let events = revision.events.filter { event in
            (self.parts[event]?[revision.domain]?.bucket ?? .min) <= revision.bucket
        }
        guard !events.isEmpty else { return }
        let outcome = self.outcome(of: due, events: events, learning: [])
        // Also where nothing came out: it need not be tried again.
        let version = self.cache.lateVersion(of: [revision.domain] + partners.ready)
        for event in events {
            self.parts[event]?[revision.domain]?.partners = partners
            self.parts[event]?[revision.domain]?.lateVersion = version
            // What it was made under, not what is by now: a layer that came back meanwhile is one more reason to make it again.
            self.parts[event]?[revision.domain]?.layers = outcome.planned
        }
        self.cache.update(revision.domain) { domain in
            for event in events where (domain.lateEvents[event] ?? .max) <= revision.bucket {
                domain.lateEvents[event] = nil
            }
        }
        self.metrics.recordEvaluation(begin.duration(to: .now), layers: outcome.parts.flatMap(\.evaluation.layers))
    }
}
