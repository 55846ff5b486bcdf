import Model

extension SeriesBlock {
    /// The block without what repeats every period: from each value the mean of its phase on the baseline is taken off.
    ///
    /// Two nodes that follow the same daily cycle and nothing else would correlate for that reason alone. Means are of the baseline
    /// only, so the present does not explain itself away. A row stays as it is unless its period is a whole number of
    /// buckets, two or more, and the baseline holds it twice at least; a phase without values is unknown.
    ///
    /// - Parameter periods: milliseconds by domain; 0 or none: no period.
    func withoutSeasons(_ periods: [String: Int64], shape: WindowShape) -> SeriesBlock {
        let baseline = shape.fullBaseline(ofLength: self.length)
        let removed = periods.filter { $0.value > 0 }.mapValues {
            shape.removablePeriod($0, bucketMs: self.bucketMs, baseline: baseline)
        }
        var block = self
        block.removedPeriods = removed
        let lengths = self.nodes.map { removed[$0.domain] ?? 0 }
        guard lengths.contains(where: { $0 > 0 }) else { return block }
        var values = self.values
        let end = self.length - shape.present
        for (row, period) in lengths.enumerated() where period > 0 {
            let start = row * self.length
            // Phases are counted from the end of the baseline: only differences of phase matter.
            for phase in 0..<period {
                var (sum, count) = (0.0, 0.0)
                for index in stride(from: end - 1 - phase, through: end - baseline, by: -period)
                where values[start + index].isFinite {
                    sum += values[start + index]
                    count += 1
                }
                // No value at all gives NaN: unknown.
                let mean = sum / count
                for index in stride(from: (end - 1 - phase) % period, to: self.length, by: period) {
                    values[start + index] -= mean
                }
            }
        }
        block.values = values
        return block
    }
}

extension EvaluationInput {
    /// The same with the declared periods removed from all blocks, each on its own baseline.
    public func withoutSeasons() -> Self {
        guard !self.periods.isEmpty else { return self }
        var input = self
        input.block = self.block.withoutSeasons(self.periods, shape: self.shape)
        input.partners = self.partners.map {
            PartnerBlock(block: $0.block.withoutSeasons(self.periods, shape: $0.shape), shape: $0.shape)
        }
        input.periods = [:]
        return input
    }
}
