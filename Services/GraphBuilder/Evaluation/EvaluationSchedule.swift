import Model

/// Which bucket of which domain is to be evaluated next. A value without I/O or clock: it is told what data there is and
/// answers with what is due, so that any batching or order of arrival leads to the same sequence per domain.
///
/// A bucket is *closed* once the watermark of its domain (newest observation minus allowed lateness) has reached its end.
/// Every closed bucket with data is due exactly once per shard, in order; empty ones are skipped. A bucket waits for the
/// domains it is compared with across domains, see ``Wait``.
struct EvaluationSchedule: Sendable {
    /// Coarse buckets since the partner's newest data during which it still counts as one that will deliver.
    static let partnerMemory: Int64 = 3
    /// Coarse buckets of own progress after which a late partner is not waited for any more.
    static let partnerPatience: Int64 = 10

    /// What is known of one domain's clock and data.
    struct Domain: Hashable, Sendable {
        var bucketMs: Int64
        var latenessMs: Int64
        /// Newest observation, epoch milliseconds.
        var newestMs: Int64
        /// The first bucket that has data at all.
        var firstBucket: Int64

        /// Everything up to here (exclusive) is closed.
        var watermarkMs: Int64 { self.newestMs - self.latenessMs }
        /// The first bucket that is not closed.
        var openBucket: Int64 { floorDivide(self.watermarkMs, self.bucketMs) }
    }

    /// What the cross-domain layer of one evaluation can count on.
    struct Partners: Hashable, Sendable {
        /// Domains that are closed up to the aligned window end, sorted.
        var ready: [String] = []
        /// Domains that should have been there but were not waited for any longer, sorted.
        var late: [String] = []
    }

    /// One evaluation to do.
    struct Due: Hashable, Sendable {
        var domain: String
        /// Bucket index: floor(time / bucketMs).
        var bucket: Int64
        var windowEnd: Timestamp
        var partners: Partners
    }

    enum Step: Hashable, Sendable {
        case evaluate(Due)
        /// The next bucket is closed, but these domains may still deliver what it is compared with.
        case wait(for: [String])
        /// Nothing is left to do with what is known.
        case nothing
    }

    private(set) var domains: [String: Domain] = [:]

    mutating func set(_ domain: Domain, for name: String) { self.domains[name] = domain }
    mutating func remove(_ name: String) { self.domains[name] = nil }

    /// What is next for a domain.
    /// - Parameter next: its first bucket with data that was not evaluated.
    func step(_ name: String, next: Int64?) -> Step {
        guard let domain = self.domains[name], let bucket = next, bucket < domain.openBucket else { return .nothing }
        let end = (bucket + 1) * domain.bucketMs
        var partners = Partners()
        var awaited: [String] = []
        for (other, partner) in self.domains where other != name {
            switch Self.readiness(of: partner, for: domain, end: end) {
            case .ready: partners.ready.append(other)
            case .late: partners.late.append(other)
            case .awaited: awaited.append(other)
            case .unrelated: continue
            }
        }
        if !awaited.isEmpty { return .wait(for: awaited.sorted()) }
        partners.ready.sort()
        partners.late.sort()
        return .evaluate(
            Due(
                domain: name, bucket: bucket, windowEnd: Timestamp(milliseconds: end), partners: partners))
    }

    private enum Readiness { case ready, late, awaited, unrelated }

    /// Two domains meet on the coarser of their buckets, at the last multiple of it that the finer one has reached.
    private static func readiness(of partner: Domain, for domain: Domain, end: Int64) -> Readiness {
        let coarse = max(partner.bucketMs, domain.bucketMs)
        let alignedEnd = floorDivide(end, coarse) * coarse
        // A partner whose data begin after the window end has nothing to compare yet.
        guard partner.firstBucket * partner.bucketMs < alignedEnd else { return .unrelated }
        if partner.watermarkMs >= alignedEnd { return .ready }
        // Not closed up to there: will it be? Only one that was heard of lately is believed to.
        guard partner.newestMs >= alignedEnd - Self.partnerMemory * coarse else { return .unrelated }
        return domain.watermarkMs >= end + Self.partnerPatience * coarse ? .late : .awaited
    }
}

/// Division that rounds to minus infinity, as bucket indexes need it; `divisor` > 0.
func floorDivide(_ value: Int64, _ divisor: Int64) -> Int64 {
    let quotient = value / divisor
    return value % divisor < 0 ? quotient - 1 : quotient
}
