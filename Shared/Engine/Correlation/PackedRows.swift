import Model

/// Mean term and 1 / centred norm of each row of a tile, by lag: index lag x width + row.
struct LagFactors {
    var means: [Float]
    var inverses: [Float]

    init(count: Int) {
        self.means = [Float](repeating: 0, count: count)
        self.inverses = self.means
    }
}

/// Some rows of a panel in float, bucket by bucket, so that a lag is only an offset. Rows that cannot be screened (constant,
/// short, with missing values) stay 0.
final class PackedRows {
    let rows: [Int]
    /// Rows padded to a multiple of 16: the length of a line.
    let width: Int
    /// Rows padded to a multiple of 4.
    let paddedCount: Int
    /// length x width, scaled to norm 1 in the window.
    private(set) var values: [Float]
    /// K x width: autocorrelations times sqrt(1 - k/n), whose products sum to what the effective size needs.
    private(set) var memories: [Float]
    private(set) var leader: LagFactors
    private(set) var follower: LagFactors
    /// kappa of each row, 1 or more.
    private(set) var conditions: [Float]

    init(_ rows: [Int], of panel: SeriesPanel) {
        self.rows = rows
        self.width = (rows.count + 15) / 16 * 16
        self.paddedCount = (rows.count + 3) / 4 * 4
        self.values = [Float](repeating: 0, count: panel.present.length * self.width)
        self.memories = [Float](repeating: 0, count: panel.autocorrelationLags * self.width)
        self.leader = LagFactors(count: (panel.shape.lag + 1) * self.width)
        self.follower = self.leader
        self.conditions = [Float](repeating: 1, count: rows.count)
        for (position, row) in rows.enumerated() { self.load(row, at: position, from: panel) }
    }

    private func load(_ row: Int, at position: Int, from panel: SeriesPanel) {
        panel.preparePresent(row)
        let state = panel.present.states[row]
        guard !state.isConstant, !state.isShort, !state.isMissing else { return }
        let length = panel.present.length
        let window = panel.present.window
        let energy = panel.present.moments(row, from: length - window, count: window).energy
        guard energy > 0 else { return }
        let scale = 1 / energy.squareRoot()
        let width = self.width
        self.values.withUnsafeMutableBufferPointer { target in
            panel.present.values.withUnsafeBufferPointer { source in
                for t in 0..<length { target[t &* width &+ position] = Float(source[row * length + t] * scale) }
            }
        }
        var condition = 1.0
        for lag in 0...panel.shape.lag {
            let overlap = panel.present.overlap(atLag: lag)
            guard overlap > 1 else { continue }
            for isLeader in [true, false] {
                let start = isLeader ? length - overlap - lag : length - overlap
                let (sum, energy) = panel.present.moments(row, from: start, count: overlap)
                guard energy > 0 else { continue }
                let mean = Float(sum * scale / Double(overlap).squareRoot())
                let inverse = Float(1 / (energy.squareRoot() * scale))
                condition = max(condition, 1 + sum * sum / Double(overlap) / energy)
                if isLeader {
                    self.leader.means[lag * width + position] = mean
                    self.leader.inverses[lag * width + position] = inverse
                } else {
                    self.follower.means[lag * width + position] = mean
                    self.follower.inverses[lag * width + position] = inverse
                }
            }
        }
        self.conditions[position] = Float(condition.squareRoot())
        self.loadMemory(row, at: position, from: panel)
    }

    private func loadMemory(_ row: Int, at position: Int, from panel: SeriesPanel) {
        let weights = panel.memoryWeights
        let width = self.width
        _ = panel.withAutocorrelation(row) { correlations in
            for k in weights.indices { self.memories[k * width + position] = Float(correlations[k] * weights[k]) }
        }
    }
}
