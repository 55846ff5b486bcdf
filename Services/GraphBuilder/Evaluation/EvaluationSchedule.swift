import Model

/// Which bucket of which domain is to be evaluated next. A value without I/O or clock: it is told what data there is and
/// answers with what is due, so that any batching or order of arrival leads to the same sequence per domain.
///
/// A bucket is *closed* once the watermark of its domain (newest observation minus allowed lateness) has reached its end.
/// Every closed bucket with data is due exactly once per shard, in order; empty ones are skipped. A bucket waits for the
/// domains it is compared with across domains, see ``Step/wait(for:coarseMs:)``.
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
        /// Domains that should have been there but are not closed up to it, sorted.
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
        /// The next bucket is closed, but these domains may still deliver what it is compared with; `coarseMs` is the widest
        /// bucket on which they meet.
        case wait(for: [String], coarseMs: Int64)
        /// Nothing is left to do with what is known.
        case nothing
    }

    private(set) var domains: [String: Domain] = [:]

    mutating func set(_ domain: Domain, for name: String) { self.domains[name] = domain }
    mutating func remove(_ name: String) { self.domains[name] = nil }

    /// What is next for a domain.
    /// - Parameters:
    ///   - next: its first bucket with data that was not evaluated.
    ///   - waits: false: partners that may still deliver are late already.
    func step(_ name: String, next: Int64?, waits: Bool = true) -> Step {
        guard let domain = self.domains[name], let bucket = next, bucket < domain.openBucket else { return .nothing }
        let partners = self.partners(of: name, at: bucket)
        let end = (bucket + 1) * domain.bucketMs
        if waits {
            let awaited = partners.late.filter { other in
                domain.watermarkMs < end + Self.partnerPatience * self.coarseMs(name, other)
            }
            if let widest = awaited.map({ self.coarseMs(name, $0) }).max() {
                return .wait(for: awaited, coarseMs: widest)
            }
        }
        return .evaluate(
            Due(domain: name, bucket: bucket, windowEnd: Timestamp(milliseconds: end), partners: partners))
    }

    /// Who takes part in the cross-domain layer of a bucket as far as is known now. A function of what the partners have
    /// delivered and of nothing else: an evaluation that was made with other partners is to be made again.
    func partners(of name: String, at bucket: Int64) -> Partners {
        var partners = Partners()
        guard let domain = self.domains[name] else { return partners }
        let end = (bucket + 1) * domain.bucketMs
        for (other, partner) in self.domains where other != name {
            let coarse = self.coarseMs(name, other)
            let alignedEnd = floorDivide(end, coarse) * coarse
            // A partner whose data begin after the window end has nothing to compare yet.
            guard partner.firstBucket * partner.bucketMs < alignedEnd else { continue }
            if partner.watermarkMs >= alignedEnd {
                partners.ready.append(other)
            } else if partner.newestMs >= alignedEnd - Self.partnerMemory * coarse {
                // Not closed up to there. Only one that was heard of lately is believed to get there.
                partners.late.append(other)
            }
        }
        partners.ready.sort()
        partners.late.sort()
        return partners
    }

    /// Two domains meet on the coarser of their buckets, at the last multiple of it that the finer one has reached.
    private func coarseMs(_ one: String, _ other: String) -> Int64 {
        max(self.domains[one]?.bucketMs ?? 1, self.domains[other]?.bucketMs ?? 1)
    }
}
