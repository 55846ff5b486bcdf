/// Area under the precision-recall curve over single points, tied scores taken together. Nothing is point-adjusted.
enum AveragePrecision {
    static func of(scores: [Double], labels: [Bool]) -> Double {
        let order = scores.indices.sorted { scores[$0] > scores[$1] }
        let positives = Double(labels.count { $0 })
        guard positives > 0 else { return .nan }
        var (hits, taken, area, recall) = (0.0, 0.0, 0.0, 0.0)
        var index = 0
        while index < order.count {
            let score = scores[order[index]]
            while index < order.count, scores[order[index]] == score {
                hits += labels[order[index]] ? 1 : 0
                taken += 1
                index += 1
            }
            area += (hits / positives - recall) * hits / taken
            recall = hits / positives
        }
        return area
    }
}

/// Volume under the surface of range-based precision and recall (Paparrizos and others 2022, VLDB 15(11), as in TSB-AD).
///
/// For every window w = 0 ... `window` labels get square-root slopes of w / 2 buckets on both sides of a labelled range, recall
/// is multiplied by the share of (slope-widened, merged) ranges that are met at all, and the areas of all w are averaged.
/// Thresholds are `thresholds` scores at even places of the ranking.
enum VolumeUnderSurface {
    static func precisionRecall(
        scores: [Double], labels: [Bool], window: Int = 100, thresholds count: Int = 250
    ) -> Double {
        let ranges = Self.ranges(labels)
        guard !ranges.isEmpty, count > 1 else { return .nan }
        let descending = scores.sorted(by: >)
        // The places numpy.linspace(0, n - 1, count) cut to whole numbers gives.
        let step = Double(scores.count - 1) / Double(count - 1)
        let levels = (0..<count).map { descending[$0 == count - 1 ? scores.count - 1 : Int(step * Double($0))] }
        let predicted = levels.map { level in Double(Self.countAtLeast(level, in: descending)) }
        let zone = Self.zone(ranges, reach: window / 2, count: scores.count)
        let firstLevel = zone.map { Self.firstLevel(at: scores[$0], levels) }
        let surface = Surface(
            scores: scores, labels: labels, ranges: ranges, levels: levels, predicted: predicted, zone: zone,
            firstLevel: firstLevel)
        return (0...window).reduce(0) { $0 + surface.area(window: $1) } / Double(window + 1)
    }

    /// Labelled ranges, both ends included.
    static func ranges(_ labels: [Bool]) -> [ClosedRange<Int>] {
        var ranges: [ClosedRange<Int>] = []
        var start: Int?
        for (index, isLabelled) in labels.enumerated() {
            if isLabelled, start == nil { start = index }
            if let first = start, !isLabelled || index == labels.count - 1 {
                ranges.append(first...(isLabelled ? index : index - 1))
                start = nil
            }
        }
        return ranges
    }

    private static func zone(_ ranges: [ClosedRange<Int>], reach: Int, count: Int) -> [Int] {
        var isInside = [Bool](repeating: false, count: count)
        for range in ranges {
            for index in max(0, range.lowerBound - reach)...min(count - 1, range.upperBound + reach) {
                isInside[index] = true
            }
        }
        return isInside.indices.filter { isInside[$0] }
    }

    private static func countAtLeast(_ level: Double, in descending: [Double]) -> Int {
        var low = 0
        var high = descending.count
        while low < high {
            let middle = (low + high) / 2
            if descending[middle] >= level { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// The first (highest) of the descending levels that a score reaches; their count if none.
    private static func firstLevel(at score: Double, _ levels: [Double]) -> Int {
        var low = 0
        var high = levels.count
        while low < high {
            let middle = (low + high) / 2
            if levels[middle] <= score { high = middle } else { low = middle + 1 }
        }
        return low
    }

    private struct Surface {
        let scores: [Double]
        let labels: [Bool]
        let ranges: [ClosedRange<Int>]
        let levels: [Double]
        let predicted: [Double]
        let zone: [Int]
        let firstLevel: [Int]

        func area(window: Int) -> Double {
            let weights = self.weights(window: window)
            var hits = [Double](repeating: 0, count: self.levels.count + 1)
            var inside = hits
            var positives = 0.0
            for (position, index) in self.zone.enumerated() {
                hits[self.firstLevel[position]] += weights[index]
                if self.labels[index] {
                    inside[self.firstLevel[position]] += 1
                    positives += 1
                }
            }
            let met = self.shareMet(window: window)
            var (hit, own, recall, area) = (0.0, 0.0, 0.0, 0.0)
            for level in self.levels.indices {
                hit += hits[level]
                own += inside[level]
                // What counts as positive grows by the slopes that were predicted.
                let wanted = (positives + positives + hit - own) / 2
                let next = min(hit / wanted, 1) * met[level]
                area += (next - recall) * hit / self.predicted[level]
                recall = next
            }
            return area
        }

        private func weights(window: Int) -> [Double] {
            var weights = self.labels.map { $0 ? 1.0 : 0 }
            guard window > 1 else { return weights }
            for range in self.ranges {
                for step in 1...window / 2 {
                    let slope = (1 - Double(step) / Double(window)).squareRoot()
                    for index in [range.lowerBound - step, range.upperBound + step]
                    where weights.indices.contains(index) {
                        weights[index] = min(1, weights[index] + slope)
                    }
                }
            }
            return weights
        }

        /// For every level the share of widened ranges in which some score reaches it.
        private func shareMet(window: Int) -> [Double] {
            let reach = window / 2
            var merged: [(first: Int, last: Int)] = []
            for range in self.ranges {
                let first = max(0, range.lowerBound - reach)
                let last = min(self.scores.count - 1, range.upperBound + reach)
                if let before = merged.last, first <= before.last {
                    merged[merged.count - 1].last = last
                } else {
                    merged.append((first, last))
                }
            }
            var met = [Double](repeating: 0, count: self.levels.count)
            for range in merged {
                let best = self.scores[range.first...range.last].max() ?? -.infinity
                for level in self.levels.indices where best >= self.levels[level] { met[level] += 1 }
            }
            return met.map { $0 / Double(merged.count) }
        }
    }
}
