/// Two tick series cut into equal stretches of time, for a bootstrap over stretches.
struct TickBlocks {
    /// Sum of squared increments by block.
    let firstVariation: [Double]
    let secondVariation: [Double]
    /// Block of each increment of the second series.
    private let blockOfSecond: [Int]

    /// - Parameter blockMs: length of a block; `Int64.max`: one block over all.
    /// Nil when there are under 4 blocks (but for one over all) or more than 100,000.
    init?(_ first: TickSeries, _ second: TickSeries, _ blockMs: Int64) {
        guard let firstStart = first.times.first, let firstEnd = first.times.last, let secondStart = second.times.first,
            let secondEnd = second.times.last
        else { return nil }
        let start = min(firstStart, secondStart)
        let span = max(firstEnd, secondEnd) - start
        let count = blockMs == .max ? 1 : Int(min(span / blockMs, 1_000_000)) + 1
        guard blockMs == .max || (4...100_000).contains(count) else { return nil }
        func blocks(_ series: TickSeries) -> [Int] {
            series.times.dropFirst().map { blockMs == .max ? 0 : min(count - 1, Int(($0 - start) / blockMs)) }
        }
        func variation(_ series: TickSeries, _ blocks: [Int]) -> [Double] {
            var result = [Double](repeating: 0, count: count)
            for index in blocks.indices {
                let step = series.values[index + 1] - series.values[index]
                result[blocks[index]] += step * step
            }
            return result
        }
        self.blockOfSecond = blocks(second)
        self.firstVariation = variation(first, blocks(first))
        self.secondVariation = variation(second, self.blockOfSecond)
    }

    /// Sum of products of overlapping increments by block of the second series, which is moved back by `lag` ms.
    func contributions(_ first: TickSeries, _ second: TickSeries, lag: Int64) -> [Double] {
        var result = [Double](repeating: 0, count: self.firstVariation.count)
        let last = first.times.count - 1
        first.times.withUnsafeBufferPointer { times in
            first.values.withUnsafeBufferPointer { values in
                second.times.withUnsafeBufferPointer { ends in
                    second.values.withUnsafeBufferPointer { steps in
                        // The last tick at or before the start of the increment, the first at or after its end.
                        var before = 0
                        var after = 0
                        for index in 0..<ends.count - 1 {
                            let from = ends[index] - lag
                            let to = ends[index + 1] - lag
                            while before < last, times[before + 1] <= from { before += 1 }
                            while after < last, times[after] < to { after += 1 }
                            result[self.blockOfSecond[index]] +=
                                (values[after] - values[before]) * (steps[index + 1] - steps[index])
                        }
                    }
                }
            }
        }
        return result
    }
}

extension TickSeries {
    /// The increments moved by `shift` ms around a circle of `span` ms, from the same start.
    func rotated(by shift: Int64, span: Int64) -> TickSeries {
        guard let start = self.times.first else { return self }
        var moved: [(time: Int64, step: Double)] = []
        moved.reserveCapacity(self.times.count)
        for index in 1..<max(1, self.times.count) {
            let time = (self.times[index] - start + shift) % span
            moved.append((start + time, self.values[index] - self.values[index - 1]))
        }
        // A rotation: two ascending runs, so this sort only has to join them.
        moved.sort { $0.time < $1.time }
        var times = [start - 1]
        var values = [0.0]
        for step in moved {
            times.append(step.time)
            values.append(values[values.count - 1] + step.step)
        }
        return TickSeries(times: times, values: values)
    }

    private init(times: [Int64], values: [Double]) {
        self.times = times
        self.values = values
    }
}
