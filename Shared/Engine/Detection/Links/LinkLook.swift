import Foundation
import Model

/// One closed bucket's look at all links of a ``LinkDetector``.
struct LinkLook {
    private let settings: LinkDetector.Settings
    private let event: String
    private let block: SeriesBlock
    /// Buckets of the baseline; it ends `presentBuckets` before the end of the block.
    private let baseline: Int
    private let bucket: Int64
    /// n x length whitened rows, filled when first asked for: clipped, and levelled (see ``Whitening``).
    private var rows: [Double]
    private var levelled: [Double]
    private var isFilled: [Bool]
    private var isKnown: [Bool]
    /// Whose baseline is levelled too.
    private var isLevelled: [Bool]

    init(settings: LinkDetector.Settings, event: String, block: SeriesBlock, baseline: Int) {
        self.settings = settings
        self.event = event
        self.block = block
        self.baseline = baseline
        self.bucket = block.windowEnd.milliseconds / block.bucketMs
        self.rows = [Double](repeating: .nan, count: block.nodes.count * block.length)
        self.levelled = self.rows
        self.isFilled = [Bool](repeating: false, count: block.nodes.count)
        self.isKnown = self.isFilled
        self.isLevelled = self.isFilled
    }

    /// A link whose evidence of a break is beyond its base level.
    private struct Suspect {
        var place: Int
        var evidence: Double
        var base: Double
    }

    /// The order of links decides nothing: which alarms are given is decided for all of them together.
    mutating func evaluate(_ detector: inout LinkDetector) -> [Finding] {
        var suspects: [Suspect] = []
        var shifts: [Finding] = []
        let turns = Int64(self.settings.refreshBuckets)
        for place in detector.links.indices {
            let (source, target) = detector.cache.rows[place]
            guard source >= 0, target >= 0, self.fill(source, &detector.whitenings),
                self.fill(target, &detector.whitenings)
            else { continue }
            let sharers = detector.cache.sharers[place]
            if detector.links[place].baseline == nil || (self.bucket &+ detector.links[place].turn) % turns == 0 {
                let level = detector.cache.normalLevel(sharers: sharers * max(1, 2 * self.settings.lagBuckets))
                self.renew(
                    &detector.links[place], source: source, target: target, shiftLevel: level, detector.whitenings)
            }
            let base = detector.cache.breakLevel(sharers: sharers)
            if let evidence = self.evidence(
                &detector.links[place], source: source, target: target, base: base, alarms: detector.breakAlarms),
                evidence > base
            {
                suspects.append(Suspect(place: place, evidence: evidence, base: base))
            }
            if let shift = detector.links[place].shift {
                shifts.append(self.shiftFinding(detector.links[place].edge, shift))
            }
        }
        let budget = self.settings.budget
        return self.breaks(suspects, &detector)
            + detector.shiftAlarms.keep(shifts, bucketMs: self.block.bucketMs, budget: budget)
    }

    private mutating func breaks(_ suspects: [Suspect], _ detector: inout LinkDetector) -> [Finding] {
        let raises = detector.breakAlarms.observe(
            suspects.map { LinkAlarms.Excess(link: detector.links[$0.place].key, size: $0.evidence - $0.base) },
            bucketMs: self.block.bucketMs, budget: self.settings.budget)
        var findings: [Finding] = []
        for (suspect, raise) in zip(suspects, raises) {
            guard let raise else { continue }
            let (source, target) = detector.cache.rows[suspect.place]
            let finding = self.breakFinding(
                detector.links[suspect.place], source: source, target: target, evidence: suspect.evidence,
                level: suspect.base + raise, detector.whitenings)
            if let finding { findings.append(finding) }
        }
        return findings
    }

    /// Whitens a row once per bucket; false for a node that does not change on the baseline.
    private mutating func fill(_ node: Int, _ whitenings: inout [NodeKey: Whitening]) -> Bool {
        if self.isFilled[node] { return self.isKnown[node] }
        self.isFilled[node] = true
        let key = self.block.nodes[node]
        let row = self.block.row(node)
        let known = whitenings[key]
        var current = known
        if known.map({ (self.bucket &+ $0.turn) % Int64(self.settings.refreshBuckets) == 0 }) ?? true {
            let end = row.endIndex - self.settings.presentBuckets
            current = Whitening(
                baseline: row[end - self.baseline..<end], clip: self.settings.clip,
                recent: self.settings.recentBuckets, turn: known?.turn ?? key.id.rawValue & 0xFFFF)
            whitenings[key] = current
        }
        guard let whitening = current else { return false }
        let length = self.block.length
        let places = node * length..<(node + 1) * length
        self.rows.withUnsafeMutableBufferPointer {
            whitening.clip(row, into: UnsafeMutableBufferPointer(rebasing: $0[places]))
        }
        // What a break is judged by at this bucket; the baseline's places follow when a model is made.
        self.level(node, whitening, max(1, length - self.settings.lagBuckets - 1)..<length)
        self.isKnown[node] = true
        return true
    }

    private mutating func level(_ node: Int, _ whitening: Whitening, _ places: Range<Int>) {
        let row = node * self.block.length..<(node + 1) * self.block.length
        self.levelled.withUnsafeMutableBufferPointer {
            whitening.level(self.block.row(node), places, into: UnsafeMutableBufferPointer(rebasing: $0[row]))
        }
    }

    private func moments(_ source: Int, _ target: Int, from start: Int, count: Int, lag: Int) -> PairMoments {
        self.rows.withUnsafeBufferPointer { rows in
            // A buffer of at least one row has an address.
            guard let base = rows.baseAddress else { return PairMoments() }
            let length = self.block.length
            let first = max(start, max(0, lag) + 1)
            let last = min(start + count, length + min(0, lag))
            return PairMoments(
                x: base + source * length, y: base + target * length, from: first, count: max(0, last - first), lag: lag
            )
        }
    }

    // MARK: - Baseline

    private var baselineStart: Int { self.block.length - self.settings.presentBuckets - self.baseline }

    private mutating func renew(
        _ link: inout TrackedLink, source: Int, target: Int, shiftLevel: Double, _ whitenings: [NodeKey: Whitening]
    ) {
        let lag = link.edge.lagBuckets
        let moments = self.moments(source, target, from: self.baselineStart, count: self.baseline, lag: lag)
        link.baselineCount = moments.count
        guard let r = moments.correlation, moments.count > 3 * Double(self.settings.recentBuckets) else {
            link.baseline = nil
            link.model = nil
            link.shift = nil
            return
        }
        link.baseline = r
        // An exponent costs more than a correlation and moves as slowly.
        let turns = Int64(self.settings.refreshBuckets * Self.modelTurns)
        if link.model == nil || (self.bucket &+ link.turn) % turns == 0 {
            link.model = self.model(of: link.edge, source: source, target: target, whitenings)
        }
        link.shift = self.shift(of: link.edge, source: source, target: target, baseline: moments, level: shiftLevel)
    }

    /// Every so many looks at a baseline the model of a break is made anew.
    private static let modelTurns = 12

    private mutating func model(
        of edge: Edge, source: Int, target: Int, _ whitenings: [NodeKey: Whitening]
    ) -> BreakModel? {
        let end = self.block.length - self.settings.presentBuckets
        for node in [source, target] where !self.isLevelled[node] {
            guard let whitening = whitenings[self.block.nodes[node]] else { return nil }
            self.level(node, whitening, max(1, self.baselineStart)..<end)
            self.isLevelled[node] = true
        }
        let start = max(self.baselineStart, 1) + edge.lagBuckets
        let values = (start..<max(start, end)).compactMap { index in
            self.value(source, target, at: index, lag: edge.lagBuckets)
        }
        return BreakModel(baseline: values, least: 3 * self.settings.recentBuckets)
    }

    /// Both ends at a place, the source `lag` buckets before; nil where one is unknown.
    private func value(_ source: Int, _ target: Int, at index: Int, lag: Int) -> SIMD2<Double>? {
        let length = self.block.length
        let value = SIMD2(self.levelled[source * length + index - lag], self.levelled[target * length + index])
        return value.x.isFinite && value.y.isFinite ? value : nil
    }

    // MARK: - Break

    /// Evidence of a break after this bucket; nil where there is nothing to judge by.
    private func evidence(
        _ link: inout TrackedLink, source: Int, target: Int, base: Double, alarms: LinkAlarms
    ) -> Double? {
        guard link.baseline != nil, let model = link.model else { return nil }
        let lag = link.edge.lagBuckets
        guard lag <= self.settings.lagBuckets else { return nil }
        guard let value = self.value(source, target, at: self.block.length - 1, lag: lag) else { return nil }
        // One base beyond the level is proof enough; more would only keep an episode open.
        var limit = base + alarms.unit.room
        let free = model.advance(link.sums, by: value, limit: limit)
        if free.x > 2 * base || free.y > 2 * base { limit = min(limit, 2 * base + alarms.raise(of: link.key)) }
        link.sums = free.clamped(lowerBound: .zero, upperBound: SIMD2(repeating: limit))
        return BreakModel.evidence(link.sums)
    }

    /// What is told is what was judged: correlations by angle of the whitened values, which one wild bucket cannot rule.
    private mutating func breakFinding(
        _ link: TrackedLink, source: Int, target: Int, evidence: Double, level: Double,
        _ whitenings: [NodeKey: Whitening]
    ) -> Finding? {
        guard let baseline = link.model?.rho else { return nil }
        let edge = link.edge
        let width = self.settings.recentBuckets
        let start = max(1, self.block.length - width - edge.lagBuckets)
        for node in [source, target] {
            guard let whitening = whitenings[self.block.nodes[node]] else { return nil }
            self.level(node, whitening, start..<self.block.length)
        }
        let recent = BreakModel.correlation(
            of: (start + edge.lagBuckets..<self.block.length).compactMap {
                self.value(source, target, at: $0, lag: edge.lagBuckets)
            })
        var values = [
            "baselineScore": baseline, "score": edge.score, "confidence": edge.confidence,
            "effectiveSize": edge.effectiveSize, "lagMs": Double(edge.lagBuckets) * Double(self.block.bucketMs),
        ]
        values["recentScore"] = recent
        let change = recent.map { "went from \(Words.correlation(baseline)) to \(Words.correlation($0))" }
        return Finding(
            kind: .correlationBreak, event: self.event, node: edge.source, target: edge.target, layer: edge.layer,
            windowEnd: self.block.windowEnd, bucketMs: self.block.bucketMs, statistic: evidence, level: level,
            values: values,
            reason:
                "correlation \(change ?? "of \(Words.correlation(baseline)) is gone") in the last \(width) buckets, "
                + "evidence \(Words.number(evidence)) (alarm level \(Words.number(level)))")
    }

    // MARK: - Shift

    private func shift(
        of edge: Edge, source: Int, target: Int, baseline: PairMoments, level: Double
    ) -> TrackedLink.Shift? {
        let most = self.settings.lagBuckets
        guard most > 0, let old = baseline.correlation else { return nil }
        let present = self.block.length - self.settings.presentBuckets
        guard let (lag, score) = self.best(source, target, from: present, count: self.settings.presentBuckets),
            lag != edge.lagBuckets
        else { return nil }
        let sd = (2 / max(1, baseline.count - 3)).squareRoot()
        var low = edge.lagBuckets
        var high = edge.lagBuckets
        for other in -most...most {
            let moments = self.moments(source, target, from: self.baselineStart, count: self.baseline, lag: other)
            guard let r = moments.correlation, atanh(abs(r)) >= atanh(abs(old)) - 1.96 * sd else { continue }
            low = min(low, other)
            high = max(high, other)
        }
        guard lag < low || lag > high else { return nil }
        let now = self.moments(
            source, target, from: present, count: self.settings.presentBuckets, lag: edge.lagBuckets)
        let atOldLag = now.correlation ?? 0
        let statistic = Williams.statistic(
            first: abs(score), second: atOldLag * (score < 0 ? -1 : 1),
            between: self.autocorrelation(source, from: present, shift: abs(lag - edge.lagBuckets)), count: now.count)
        guard statistic > level else { return nil }
        return TrackedLink.Shift(
            presentLag: lag, presentScore: score, scoreAtBaselineLag: atOldLag, lagLow: low, lagHigh: high,
            statistic: statistic, level: level)
    }

    /// The lag of the largest |r|; ties go to the lag nearest 0, then to the positive one.
    private func best(_ source: Int, _ target: Int, from start: Int, count: Int) -> (lag: Int, score: Double)? {
        var best: (lag: Int, score: Double)?
        for size in 0...self.settings.lagBuckets {
            for lag in size == 0 ? [0] : [size, -size] {
                guard let r = self.moments(source, target, from: start, count: count, lag: lag).correlation else {
                    continue
                }
                if abs(r) > abs(best?.score ?? 0) { best = (lag, r) }
            }
        }
        return best
    }

    private func autocorrelation(_ node: Int, from start: Int, shift: Int) -> Double {
        self.moments(node, node, from: start, count: self.settings.presentBuckets, lag: shift).correlation ?? 0
    }

    private func shiftFinding(_ edge: Edge, _ shift: TrackedLink.Shift) -> Finding {
        let width = Double(self.block.bucketMs)
        let isReversed = edge.lagBuckets > 0 && shift.presentLag < 0
        let before = Words.duration(milliseconds: Double(edge.lagBuckets) * width)
        let now = Words.duration(milliseconds: abs(Double(shift.presentLag)) * width)
        return Finding(
            kind: .leadLagShift, event: self.event, node: edge.source, target: edge.target, layer: edge.layer,
            windowEnd: self.block.windowEnd, bucketMs: self.block.bucketMs, statistic: shift.statistic,
            level: shift.level,
            values: [
                "baselineLagMs": Double(edge.lagBuckets) * width, "baselineLagLowMs": Double(shift.lagLow) * width,
                "baselineLagHighMs": Double(shift.lagHigh) * width, "presentLagMs": Double(shift.presentLag) * width,
                "presentScore": shift.presentScore, "scoreAtBaselineLag": shift.scoreAtBaselineLag,
                "directionReversed": isReversed ? 1 : 0, "score": edge.score, "confidence": edge.confidence,
            ],
            reason: isReversed
                ? "the direction turned: the target now leads by \(now), the source led by \(before)"
                : "the lag went from \(before) to \(shift.presentLag < 0 ? "the target leading by " : "")\(now), outside the "
                    + "baseline's interval")
    }
}

/// Comparison of two correlations that share a series.
package enum Williams {
    /// Williams's t of `first` against `second`, positive when `first` is larger; about standard normal for equal ones.
    ///
    /// - Parameters:
    ///   - between: correlation of the two series that are not shared.
    ///   - count: places, above 3.
    package static func statistic(first: Double, second: Double, between: Double, count: Double) -> Double {
        guard count > 3 else { return 0 }
        let determinant = 1 - first * first - second * second - between * between + 2 * first * second * between
        let mean = (first + second) / 2
        let scale =
            2 * (count - 1) / (count - 3) * max(0, determinant)
            + mean * mean * (1 - between) * (1 - between) * (1 - between)
        guard scale > 0 else { return 0 }
        return (first - second) * ((count - 1) * (1 + between) / scale).squareRoot()
    }
}
