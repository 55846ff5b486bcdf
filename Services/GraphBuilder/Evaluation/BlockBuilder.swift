import Engine
import Model

/// Cuts the blocks out of the cache that one evaluation looks at.
struct BlockBuilder {
    let cache: SeriesCache

    /// The own series of a domain, ending with `bucket`: shorter than the required length while the domain is young.
    func own(_ domain: DomainSeries, bucket: Int64) -> SeriesBlock? {
        guard let clock = domain.clock, let window = domain.window, let length = self.length(domain, bucket: bucket)
        else { return nil }
        let slots = Self.slots(domain, endMs: clock.end(of: bucket).milliseconds)
        var values: [Double] = []
        values.reserveCapacity(slots.count * length)
        let assembler = Self.assembler(domain.profile, bucketMs: clock.bucketMs)
        var row: [Double] = []
        for slot in slots {
            row.removeAll(keepingCapacity: true)
            window.filled(slot: slot, through: bucket, length: length + 1, fill: domain.profile.fill, into: &row)
            if domain.profile.transform == .level {
                values.append(contentsOf: row[1...])
            } else {
                values.append(contentsOf: assembler.transformed(Array(row[1...]), after: row[0]))
            }
        }
        return SeriesBlock(
            nodes: slots.map { domain.nodes[$0].key }, bucketMs: clock.bucketMs,
            windowEnd: clock.end(of: bucket),
            length: length, values: values)
    }

    /// Nodes that were seen before the window's end, in order. One that comes later would be tested as a series without values,
    /// and whether it is known already depends on how data were batched.
    private static func slots(_ domain: DomainSeries, endMs: Int64) -> [Int] {
        domain.order.filter { domain.nodes[$0].firstMs < endMs }
    }

    /// A silence of the whole domain longer than this ends its history: nobody knows what a recording that was switched off
    /// would have shown, and a value held for months would pass for a baseline.
    static let silenceLimit = 30

    /// Buckets the domain can offer at `bucket`: since its first data or its last long silence, at most the required length.
    private func length(_ domain: DomainSeries, bucket: Int64) -> Int? {
        guard let scheduled = domain.scheduled, let window = domain.window else { return nil }
        let known = bucket - scheduled.firstBucket + 1
        guard known > 0 else { return nil }
        let most = Int(min(Int64(WindowShape(profile: domain.profile).requiredLength), known))
        var silent = 0
        for back in 0..<most {
            silent = window.shardMask(bucket - Int64(back)) == 0 ? silent + 1 : 0
            // Whoever asks for a bucket inside the silence itself gets that one bucket.
            if silent > Self.silenceLimit { return max(1, back + 1 - silent) }
        }
        return most
    }

    /// Own and partner nodes on the clocks on which they meet: one block for partners that are not coarser, and one for each
    /// coarser width.
    func partners(_ domain: DomainSeries, bucket: Int64, names: [String]) -> [PartnerBlock] {
        guard let clock = domain.clock, let length = self.length(domain, bucket: bucket) else { return [] }
        let endMs = clock.end(of: bucket).milliseconds
        var groups: [Int64: [DomainSeries]] = [:]
        for name in names {
            guard let partner = self.cache.domains[name], let width = partner.clock?.bucketMs else { continue }
            groups[max(width, clock.bucketMs), default: []].append(partner)
        }
        return groups.sorted { $0.key < $1.key }.map { width, partners in
            // Whole coarse buckets, and as many as the own history fills.
            let coarse = BucketClock(bucketMs: width)
            let last = floorDivide(endMs, width) - 1
            let required = WindowShape(profile: domain.profile)
            let span = (Int64(length) * clock.bucketMs + width - 1) / width
            let count = width == clock.bucketMs ? length : Int(min(Int64(required.requiredLength), max(1, span)))
            var rows: [(key: NodeKey, values: [Double])] = []
            for member in [domain] + partners {
                for slot in Self.slots(member, endMs: coarse.end(of: last).milliseconds) {
                    rows.append(
                        (member.nodes[slot].key, self.row(member, slot: slot, coarse: coarse, last: last, count: count))
                    )
                }
            }
            rows.sort { $0.key < $1.key }
            return PartnerBlock(
                block: SeriesBlock(
                    nodes: rows.map(\.key), bucketMs: width, windowEnd: coarse.end(of: last), length: count,
                    values: rows.flatMap(\.values)),
                shape: required)
        }
    }

    /// One node's series of `count` coarse buckets ending with `last`, in its own domain's fill and transform. What lies
    /// further back than the domain itself looks is NaN, so that the length of the cache leaves no trace.
    private func row(_ domain: DomainSeries, slot: Int, coarse: BucketClock, last: Int64, count: Int) -> [Double] {
        guard let clock = domain.clock, let window = domain.window else { return Array(repeating: .nan, count: count) }
        let assembler = Self.assembler(domain.profile, bucketMs: clock.bucketMs)
        let newest = clock.bucket(of: coarse.end(of: last).milliseconds) - 1
        guard let offered = self.length(domain, bucket: newest) else { return Array(repeating: .nan, count: count) }
        var row: [Double] = []
        if coarse.bucketMs == clock.bucketMs {
            let reach = min(count + 1, offered + 1)
            window.filled(slot: slot, through: newest, length: reach, fill: domain.profile.fill, into: &row)
            row = Array(repeating: .nan, count: count + 1 - reach) + row
        } else {
            let oldest = newest - Int64(offered)
            let fine = (oldest...newest).map { window.aggregate(slot: slot, bucket: $0) }
            var before: [Double] = []
            window.filled(slot: slot, through: oldest - 1, length: 1, fill: .last, into: &before)
            let values = assembler.coarsened(
                fine, firstFine: oldest, to: coarse, from: last - Int64(count), count: count + 1)
            row = assembler.filled(values, after: before.first.flatMap { $0.isNaN ? nil : $0 })
        }
        return assembler.transformed(Array(row[1...]), after: row[0])
    }

    private static func assembler(_ profile: DomainProfile, bucketMs: Int64) -> SeriesAssembler {
        SeriesAssembler(clock: BucketClock(bucketMs: bucketMs), fill: profile.fill, transform: profile.transform)
    }

    /// Of everything an evaluation looks at, sums of hashes: the observations in its windows, and the value each node came
    /// into them with. To be taken with the evaluation itself; windows move on.
    func digest(_ domain: DomainSeries, bucket: Int64, partners: [String]) -> Digest128 {
        guard let endMs = domain.clock?.end(of: bucket).milliseconds else { return .zero }
        var digest = Digest128.zero
        for name in [domain.name] + partners {
            guard let member = self.cache.domains[name], let clock = member.clock, let window = member.window else {
                continue
            }
            let end = clock.bucket(of: endMs)
            let start = end - Int64(member.neededBuckets)
            digest.add(window.digest(in: start..<end))
            var entering: [Double] = []
            for (slot, node) in member.nodes.enumerated() {
                entering.removeAll(keepingCapacity: true)
                window.filled(slot: slot, through: start - 1, length: 1, fill: .last, into: &entering)
                if let value = entering.first, !value.isNaN {
                    digest.add(Digest128(node: node.id, timeMs: .min, value: value))
                }
            }
        }
        return digest
    }
}
