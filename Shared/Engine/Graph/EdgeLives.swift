import Model

/// Follows the edges of one event from window end to window end and says what became of each. A value without I/O: the same
/// windows in the same order give the same changes.
///
/// What lies within an edge's interval is noise. A link is compared with its reading at its last change, not with the window
/// before, so that a slow drift is a change in the end; and two 95 % intervals that have nothing in common differ at about
/// 0.6 % where they are equally long (Schenker and Gentleman 2001, American Statistician 55).
public struct EdgeLives: Sendable {
    /// Window ends in one window: so many without being accepted end a link, and readings of so many overlap.
    public let patience: Int

    private struct Key: Hashable, Comparable {
        var first: NodeKey
        var second: NodeKey
        var estimator: Edge.Estimator

        init(_ edge: Edge) {
            self.first = min(edge.source, edge.target)
            self.second = max(edge.source, edge.target)
            self.estimator = edge.estimator
        }

        static func < (left: Key, right: Key) -> Bool {
            if left.first != right.first { return left.first < right.first }
            if left.second != right.second { return left.second < right.second }
            return left.estimator.rawValue < right.estimator.rawValue
        }
    }

    private struct Link {
        var layer: Layer
        /// At the last change.
        var reference: PairReading
        /// Window ends in a row at which it was not accepted, and those with the opposite direction.
        var misses = 0
        var turns = 0
        var points: [HalfLife.Point] = []
        var hasShrunk = false

        /// An interval turned so that the reference's r is positive.
        func oriented(_ reading: PairReading) -> (low: Double, high: Double) {
            self.reference.score < 0
                ? (-reading.intervalHigh, -reading.intervalLow) : (reading.intervalLow, reading.intervalHigh)
        }
    }

    private var links: [Key: Link] = [:]
    private var lastWindowEnd: Timestamp?

    /// - Parameter patience: below 1 counts as 1.
    public init(patience: Int) { self.patience = max(1, patience) }

    /// Links that stand.
    public var count: Int { self.links.count }

    /// Takes the next window.
    ///
    /// - Parameters:
    ///   - edges: all that are accepted; of a pair with two the stronger counts.
    ///   - windowEnd: later than those before.
    ///   - measure: r of a pair (ascending) that is no edge; nil when it cannot be measured.
    /// - Precondition: `windowEnd` is later than those before.
    /// - Returns: in order of nodes.
    public mutating func follow(
        _ edges: [Edge], at windowEnd: Timestamp, measure: (NodeKey, NodeKey) -> PairReading?
    ) -> [EdgeChange] {
        precondition(self.lastWindowEnd.map { $0 < windowEnd } ?? true, "window ends go forward")
        self.lastWindowEnd = windowEnd
        var accepted: [Key: Edge] = [:]
        for edge in edges {
            let key = Key(edge)
            if let known = accepted[key], known.weight >= edge.weight { continue }
            accepted[key] = edge
        }
        var changes: [EdgeChange] = []
        for key in Set(self.links.keys).union(accepted.keys).sorted() {
            if let edge = accepted[key] {
                changes += self.take(key, edge.layer, PairReading(edge, first: key.first), windowEnd)
            } else {
                let reading = key.estimator == .pearson ? measure(key.first, key.second) : nil
                changes += self.miss(key, reading, windowEnd)
            }
        }
        return changes
    }

    private mutating func take(
        _ key: Key, _ layer: Layer, _ reading: PairReading, _ windowEnd: Timestamp
    ) -> [EdgeChange] {
        guard var link = self.links[key] else {
            var link = Link(layer: layer, reference: reading)
            self.note(reading, windowEnd, &link)
            self.links[key] = link
            return [Self.change(.born, key, link, windowEnd, before: nil, after: reading, halfLifeMs: nil)]
        }
        link.misses = 0
        let before = link.reference
        let (old, new) = (link.oriented(before), link.oriented(reading))
        var kind: EdgeChange.Kind?
        link.turns = before.lagBuckets.signum() * reading.lagBuckets.signum() < 0 ? link.turns + 1 : 0
        if before.score * reading.score < 0 {
            kind = .flipped
            link.points = []
        } else if link.turns > 1 {
            // Twice in a row: the lag of a pair that feeds back may change sides by chance.
            kind = .flipped
        } else if new.low > old.high {
            kind = .strengthened
        } else if new.high < old.low {
            kind = .weakened
        }
        if kind != nil {
            link.reference = reading
            link.turns = 0
        }
        let warning = self.note(reading, windowEnd, &link)
        self.links[key] = link
        let halfLifeMs = HalfLife.decay(link.points, overlap: self.patience)?.halfLifeMs
        return ([kind] + [warning ? .halfLifeShrunk : nil]).compactMap { $0 }.map {
            Self.change($0, key, link, windowEnd, before: before, after: reading, halfLifeMs: halfLifeMs)
        }
    }

    private mutating func miss(_ key: Key, _ reading: PairReading?, _ windowEnd: Timestamp) -> [EdgeChange] {
        guard var link = self.links[key] else { return [] }
        link.misses += 1
        link.turns = 0
        var warning = false
        if let reading { warning = self.note(reading, windowEnd, &link) }
        var kind: EdgeChange.Kind?
        if let reading, link.oriented(reading).high < link.oriented(link.reference).low {
            kind = .broken
        } else if link.misses >= self.patience {
            kind = .expired
        }
        self.links[key] = kind == nil ? link : nil
        let halfLifeMs = HalfLife.decay(link.points, overlap: self.patience)?.halfLifeMs
        return ([kind] + [warning ? .halfLifeShrunk : nil]).compactMap { $0 }.map {
            Self.change($0, key, link, windowEnd, before: link.reference, after: reading, halfLifeMs: halfLifeMs)
        }
    }

    /// Adds to what the half-life is estimated from. Returns whether it has shrunk now and not before.
    @discardableResult
    private func note(_ reading: PairReading, _ windowEnd: Timestamp, _ link: inout Link) -> Bool {
        let z = FisherStatistics.z(link.reference.score < 0 ? -reading.score : reading.score)
        link.points.append(
            HalfLife.Point(timeMs: windowEnd.milliseconds, z: z, effectiveSize: reading.effectiveSize))
        if link.points.count > HalfLife.length { link.points.removeFirst() }
        let hasShrunk = HalfLife.hasShrunk(link.points, overlap: self.patience)
        defer { link.hasShrunk = hasShrunk }
        return hasShrunk && !link.hasShrunk
    }

    private static func change(
        _ kind: EdgeChange.Kind, _ key: Key, _ link: Link, _ windowEnd: Timestamp, before: PairReading?,
        after: PairReading?, halfLifeMs: Double?
    ) -> EdgeChange {
        let leader = kind == .broken || kind == .expired ? before : after ?? before
        let isTurned = (leader?.lagBuckets ?? 0) < 0
        func oriented(_ reading: PairReading?) -> PairReading? {
            guard var reading, isTurned else { return reading }
            reading.lagBuckets = -reading.lagBuckets
            return reading
        }
        return EdgeChange(
            kind: kind, windowEnd: windowEnd, layer: link.layer, source: isTurned ? key.second : key.first,
            target: isTurned ? key.first : key.second, estimator: key.estimator, before: oriented(before),
            after: oriented(after), halfLifeMs: halfLifeMs)
    }
}
