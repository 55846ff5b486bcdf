import Foundation
import Model

/// How far each node moved from its baseline, and stayed there: steps 1 to 3 of the method.
///
/// Values go to a log scale (percent of successes as failures + 1), the scale is robust, pooled over the market and floored,
/// and a change counts only as far as `hold` successive buckets share it, so one spike is no evidence.
/// Cost: O(n B log B) for n nodes and B baseline buckets.
struct HeldChange: Sendable {
    /// Signed strength in units of the node's scale; NaN where window or baseline is unknown. Positive is a rise of the
    /// node's own value, whatever direction is bad.
    let strength: [Double]
    /// Size of the change held in the direction that is not bad, same units; 0 where both are bad or nothing is known.
    let relief: [Double]
    /// Median of the window minus median of the baseline, log units, signed as `strength`.
    let shift: [Double]
    /// Log units, at least the floor.
    let scale: [Double]

    init(_ input: RootCauseInput, _ parameters: RootCauseParameters) {
        let groups = Self.groups(input.nodes)
        let offsets = Self.offsets(input, groups, parameters)
        let baselines = input.nodes.indices.map { Baseline(input, node: $0, offset: offsets[$0]) }
        var scale = [Double](repeating: 0, count: input.nodes.count)
        for group in groups {
            let known = group.map { baselines[$0].scale }.filter(\.isFinite).sorted()
            let pooled = known.isEmpty ? 0 : SampleQuantile.median(ofSorted: known)
            for node in group {
                let own = baselines[node].scale.isFinite ? baselines[node].scale : 0
                let count = Double(baselines[node].count)
                let variance =
                    (count * own * own + parameters.prior * pooled * pooled) / (count + parameters.prior)
                scale[node] = (variance + parameters.floor * parameters.floor).squareRoot()
            }
        }
        var strength: [Double] = []
        var relief: [Double] = []
        var shift: [Double] = []
        for node in input.nodes.indices {
            let facts = input.nodes[node].facts
            let logs = Self.logs(
                input.window[node * input.windowLength..<(node + 1) * input.windowLength], facts, offsets[node])
            let sign: Double = facts.isPercentOfSuccesses ? -1 : 1
            let scores = logs.map { ($0 - baselines[node].median) / scale[node] }
            let held = Self.held(scores, facts: facts, hold: parameters.hold)
            strength.append(sign * held.bad)
            relief.append(held.good)
            shift.append(sign * (SampleQuantile.median(logs) - baselines[node].median))
        }
        self.strength = strength
        self.relief = relief
        self.shift = shift
        self.scale = scale
    }

    /// What one node's baseline looks like on the log scale.
    private struct Baseline {
        let median: Double
        /// max(1.4826 MAD, (p90 - p10) / 2.56); NaN without samples.
        let scale: Double
        let count: Int

        init(_ input: RootCauseInput, node: Int, offset: Double) {
            let row = input.baseline[node * input.baselineLength..<(node + 1) * input.baselineLength]
            let sorted = HeldChange.logs(row, input.nodes[node].facts, offset).filter(\.isFinite).sorted()
            let median = SampleQuantile.median(ofSorted: sorted)
            let deviation = SampleQuantile.median(sorted.map { abs($0 - median) })
            let spread =
                SampleQuantile.quantile(0.9, ofSorted: sorted) - SampleQuantile.quantile(0.1, ofSorted: sorted)
            self.median = median
            self.scale = max(1.4826 * deviation, spread / 2.56)
            self.count = sorted.count
        }
    }

    /// Node indices by market and unit, each in order of declaration.
    private static func groups(_ nodes: [RootCauseNode]) -> [[Int]] {
        struct Unit: Hashable {
            let market: String
            let isPercent: Bool
        }
        var places: [Unit: Int] = [:]
        var groups: [[Int]] = []
        for (index, node) in nodes.enumerated() {
            let unit = Unit(market: node.key.market, isPercent: node.facts.isPercentOfSuccesses)
            if let place = places[unit] {
                groups[place].append(index)
            } else {
                places[unit] = groups.count
                groups.append([index])
            }
        }
        return groups
    }

    /// What is added before the logarithm: a share of the market's typical level, or 1 failure in 100.
    private static func offsets(
        _ input: RootCauseInput, _ groups: [[Int]], _ parameters: RootCauseParameters
    ) -> [Double] {
        var offsets = [Double](repeating: 1, count: input.nodes.count)
        for group in groups {
            guard let first = group.first, !input.nodes[first].facts.isPercentOfSuccesses else { continue }
            let levels = group.map { node in
                abs(
                    SampleQuantile.median(
                        input.baseline[node * input.baselineLength..<(node + 1) * input.baselineLength]))
            }
            let typical = SampleQuantile.median(levels)
            let offset = parameters.offset * (typical.isFinite && typical > 0 ? typical : 1)
            for node in group { offsets[node] = offset }
        }
        return offsets
    }

    private static func logs(_ row: ArraySlice<Double>, _ facts: MarketFacts, _ offset: Double) -> [Double] {
        row.map { value in
            let known = facts.isPercentOfSuccesses ? 100 - value : value
            return known.isNaN ? .nan : log(max(known, 0) + offset)
        }
    }

    /// The largest change that `hold` successive buckets share, in the bad direction (or, if both are, the larger). A
    /// missing bucket shares nothing. `good` is the size of the change the other way.
    private static func held(_ scores: [Double], facts: MarketFacts, hold: Int) -> (bad: Double, good: Double) {
        guard scores.contains(where: \.isFinite) else { return (.nan, 0) }
        let known = scores.map { $0.isFinite ? $0 : 0 }
        let length = min(max(hold, 1), known.count)
        var up = 0.0
        var down = 0.0
        for start in 0...(known.count - length) {
            let run = known[start..<start + length]
            up = max(up, run.reduce(.infinity, min))
            down = max(down, -run.reduce(-.infinity, max))
        }
        // Percent of successes were turned into failures: what is bad when it falls is now bad when it rises.
        switch (facts.bad, facts.isPercentOfSuccesses) {
        case (.up, false), (.down, true): return (up, down)
        case (.down, false), (.up, true): return (-down, up)
        case (.both, _): return (up >= down ? up : -down, 0)
        }
    }
}
