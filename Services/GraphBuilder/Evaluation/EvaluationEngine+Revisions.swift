import Engine
import Model

extension EvaluationEngine {
    /// The newest evaluation of some events, to be made again with the partners of L4 that are known by now. What the
    /// detectors have learnt stays: it was learnt from what there was at the time.
    struct Revision: Sendable {
        var domain: String
        var bucket: Int64
        var windowEnd: Timestamp
        /// Ascending.
        var events: [String]
    }

    /// Tells the schedule what has been read, and finds out what that changes about evaluations already made.
    func reschedule() {
        for (name, domain) in self.cache.domains {
            if let scheduled = domain.scheduled, domain.window != nil {
                self.schedule.set(scheduled, for: name)
            } else {
                self.schedule.remove(name)
            }
        }
        struct Place: Hashable {
            var domain: String
            var bucket: Int64
        }
        var partners: [Place: EvaluationSchedule.Partners] = [:]
        var revisions: [Place: Revision] = [:]
        for (event, parts) in self.parts {
            for (domain, part) in parts where self.schedule.domains[domain] != nil {
                let place = Place(domain: domain, bucket: part.bucket)
                let now = partners[place] ?? self.schedule.partners(of: domain, at: part.bucket)
                partners[place] = now
                guard now != part.partners else { continue }
                revisions[
                    place,
                    default: Revision(domain: domain, bucket: part.bucket, windowEnd: part.windowEnd, events: [])
                ].events.append(event)
            }
        }
        self.revisions = revisions.values.sorted { ($0.windowEnd, $0.domain) < ($1.windowEnd, $1.domain) }
        for index in self.revisions.indices { self.revisions[index].events.sort() }
    }

    /// Whether all that the evaluation looks at is in memory.
    func covers(_ revision: Revision) -> Bool {
        let ready = self.schedule.partners(of: revision.domain, at: revision.bucket).ready
        return ([revision.domain] + ready).allSatisfy { name in
            guard let domain = self.cache.domains[name], let clock = domain.clock, let window = domain.window,
                let first = domain.scheduled?.firstBucket
            else { return false }
            let bucket = clock.bucket(of: revision.windowEnd.milliseconds - 1)
            return window.base <= max(first, bucket - Int64(domain.neededBuckets))
                && window.loadedEnd > bucket
        }
    }

    func evaluateAgain(_ revision: Revision) {
        let begin = ContinuousClock.now
        let partners = self.schedule.partners(of: revision.domain, at: revision.bucket)
        let due = EvaluationSchedule.Due(
            domain: revision.domain, bucket: revision.bucket, windowEnd: revision.windowEnd, partners: partners)
        // Events that have moved on since need it no more.
        let events = revision.events.filter { self.parts[$0]?[revision.domain]?.bucket == revision.bucket }
        guard !events.isEmpty else { return }
        let outcome = self.outcome(of: due, events: events, learning: [])
        // Also where nothing came out: it need not be tried again.
        for event in events { self.parts[event]?[revision.domain]?.partners = partners }
        self.metrics.recordEvaluation(begin.duration(to: .now), layers: outcome.parts.flatMap(\.evaluation.layers))
    }
}
