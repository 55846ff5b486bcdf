import Engine
import Model

/// The window ends of one domain that tell what happened in one block.
struct ChangeSpan: Sendable {
    let domain: String
    let clock: DomainSeries.Clock
    /// Buckets between window ends.
    let interval: Int64
    /// Window ends in one present window.
    let patience: Int
    /// Multiples of `interval`, from the beginning of the block before on; closed ones only.
    let buckets: [Int64]
    /// Where the block ends, exclusive of the next one's first window end.
    let end: Timestamp
    private let open: Int64

    /// Nil when no window end after `time` is closed.
    ///
    /// - Parameters:
    ///   - time: the block is the one of the first window end after it.
    ///   - open: the first bucket that is not closed.
    init?(_ domain: DomainSeries, after time: Timestamp, open: Int64?) {
        guard let clock = domain.clock, let open else { return nil }
        let interval = domain.tickInterval
        // The first multiple k whose bucket ends after `time`.
        let ended = clock.bucket(of: time.milliseconds)
        let first = -floorDivide(-ended, interval)
        guard first * interval < open else { return nil }
        let block = floorDivide(first, ChangeReader.blockLength)
        let from = (block - 1) * ChangeReader.blockLength
        let to = (block + 1) * ChangeReader.blockLength
        self.domain = domain.name
        self.clock = clock
        self.interval = interval
        self.patience = max(1, domain.profile.presentBuckets / Int(interval))
        self.buckets = (from..<to).map { $0 * interval }.filter { $0 < open }
        self.end = Timestamp(milliseconds: to * interval * clock.bucketMs)
        self.open = open
    }

    /// Whether a window end after `time` is closed.
    func goesOn(after time: Timestamp) -> Bool {
        let next = -floorDivide(-self.clock.bucket(of: time.milliseconds), self.interval) * self.interval
        return next < self.open
    }
}

/// Evaluates an event at the window ends of a span and follows its edges. Pure.
struct ChangeFollower: Sendable {
    let event: String
    let span: ChangeSpan
    let thresholds: LayerThresholds
    /// What is to be evaluated, ascending.
    let ends: [EvaluationSchedule.Due]

    init(event: String, span: ChangeSpan, schedule: EvaluationSchedule, thresholds: LayerThresholds) {
        self.event = event
        self.span = span
        self.thresholds = thresholds
        self.ends = span.buckets.map { bucket in
            EvaluationSchedule.Due(
                domain: span.domain, bucket: bucket, windowEnd: span.clock.end(of: bucket),
                partners: schedule.partners(of: span.domain, at: bucket))
        }
    }

    /// Domains that are looked at, ascending.
    var names: [String] { Set(self.ends.flatMap(\.partners.ready)).union([self.span.domain]).sorted() }

    /// - Parameter cache: with the buckets all of ``ends`` look at.
    @concurrent
    func changes(in cache: SeriesCache) async -> [EdgeChange] {
        var lives = EdgeLives(patience: self.span.patience)
        var changes: [EdgeChange] = []
        for due in self.ends {
            guard !Task.isCancelled, self.hasData(before: due, in: cache) else { continue }
            changes += self.follow(due, &lives, in: cache)
        }
        return changes
    }

    /// Whether the event has a value since the window end before.
    private func hasData(before due: EvaluationSchedule.Due, in cache: SeriesCache) -> Bool {
        guard let domain = cache.domains[due.domain], let window = domain.window else { return false }
        return domain.nodes.indices.contains { slot in
            domain.nodes[slot].key.event == self.event
                && (due.bucket - self.span.interval + 1...due.bucket).contains {
                    !window.aggregate(slot: slot, bucket: $0).isNaN
                }
        }
    }

    private func follow(
        _ due: EvaluationSchedule.Due, _ lives: inout EdgeLives, in cache: SeriesCache
    ) -> [EdgeChange] {
        var states: [String: DetectorStates.Event] = [:]
        let parts = DomainEvaluator(cache: cache, thresholds: self.thresholds, declared: DeclaredPairs([]))
            .evaluate(due, events: [self.event], learning: [], states: &states).parts
        guard let part = parts.first, let domain = cache.domains[due.domain] else { return [] }
        let builder = BlockBuilder(cache: cache)
        let periods = cache.domains.mapValues(\.profile.periodMs)
        // Made for links that are no edges any more; most of the time there are none.
        var blocks: [PartnerBlock]?
        return lives.follow(part.evaluation.accepted, at: due.windowEnd) { first, second in
            let known: [PartnerBlock]
            if let blocks {
                known = blocks
            } else {
                let own = builder.own(domain, bucket: due.bucket).map {
                    [PartnerBlock(block: $0, shape: WindowShape(profile: domain.profile))]
                }
                known =
                    (own ?? [])
                    + builder.partners(domain, bucket: due.bucket, names: due.partners.ready)
                blocks = known
            }
            for partner in known {
                let reading = Evaluation.reading(
                    of: first, and: second, in: partner.block, shape: partner.shape, thresholds: self.thresholds,
                    periods: periods)
                if let reading { return reading }
            }
            return nil
        }
    }
}
