import Engine
import Model

/// Cuts out of the cache what tick estimates look at. They are dear, so they are made at every
/// ``DomainSeries/tickInterval``-th window end and stand until the next; which window counts for a bucket follows from the
/// bucket alone, so that a replica that begins in between comes to the same edges.
struct TickReader {
    let domain: DomainSeries
    let clock: DomainSeries.Clock
    /// The window ends with this bucket.
    let bucket: Int64
    /// Slots of nodes with raw readings, by event, in order of nodes.
    private let slots: [String: [Int]]

    init?(_ domain: DomainSeries, bucket: Int64) {
        guard let clock = domain.clock, !domain.ticks.isEmpty else { return nil }
        self.domain = domain
        self.clock = clock
        self.bucket = floorDivide(bucket, domain.tickInterval) * domain.tickInterval
        self.slots = Dictionary(grouping: domain.ticks.keys) { domain.nodes[$0].key.event }.mapValues {
            $0.sorted { domain.nodes[$0].key < domain.nodes[$1].key }
        }
    }

    /// Edges of one event and what they were made of, so that they need not be made twice.
    struct Estimate: Hashable, Sendable, Codable {
        var bucket: Int64
        var digest: String
        var edges: [Edge]
    }

    /// - Parameter known: of the same event; taken over when nothing has changed since.
    func estimate(_ event: String, known: Estimate?) -> Estimate? {
        guard let slots = self.slots[event], slots.count > 1, let window = self.domain.window else { return nil }
        let length = Int64(WindowShape(profile: self.domain.profile).requiredLength)
        let range = (self.bucket + 1 - length)..<(self.bucket + 1)
        var digest = Digest128.zero
        for slot in slots { digest.add(window.digest(slot: slot, in: range)) }
        if let known, known.bucket == self.bucket, known.digest == digest.hex { return known }
        var ticks: [NodeKey: TickSeries] = [:]
        for slot in slots {
            guard let buffer = self.domain.ticks[slot] else { continue }
            let readings = buffer.slice(
                fromMs: range.lowerBound * self.clock.bucketMs, toMs: range.upperBound * self.clock.bucketMs)
            guard TickBuffer.isIrregular(readings) else { continue }
            ticks[self.domain.nodes[slot].key] = TickSeries(readings, transform: self.domain.profile.transform)
        }
        let profile = self.domain.profile
        // Lags by a fifth of a bucket, as far as the profile looks.
        let options = HayashiYoshida.Options(
            lagStepMs: max(1, self.clock.bucketMs / 5),
            lagLimitMs: max(1, Int64(profile.lagBuckets)) * self.clock.bucketMs)
        let edges = TickWindow(
            ticks: ticks, options: options, bucketMs: self.clock.bucketMs, windowEnd: self.clock.end(of: self.bucket)
        ).edges()
        return Estimate(bucket: self.bucket, digest: digest.hex, edges: edges)
    }
}
