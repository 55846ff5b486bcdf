import Model

/// Goes over all asked pairs of one panel: counts what cannot be tested, prunes what cannot pass, settles the rest.
///
/// A pair is pruned only when float r at every lag is farther under its threshold than the error bound, so the outcome is
/// the one of settling every pair.
struct PairScan {
    let panel: SeriesPanel
    let numbers: NodeNumbers
    let thresholds: LayerThresholds
    let layers: Set<Layer>
    let settlesAll: Bool
    /// By asked event, then layer (raw value - 1).
    private(set) var counts: [PairCounts]
    /// Tested pairs with |r| at or above the threshold, and untestable pairs of L1; every pair when all are settled.
    private(set) var settled: [SettledPair] = []
    private let settlement: PairSettlement

    init(
        panel: SeriesPanel, numbers: NodeNumbers, thresholds: LayerThresholds, layers: Set<Layer>, events: Int,
        settlesAll: Bool
    ) {
        self.panel = panel
        self.numbers = numbers
        self.thresholds = thresholds
        self.layers = layers
        self.settlesAll = settlesAll
        self.counts = [PairCounts](repeating: PairCounts(), count: events * Layer.allCases.count)
        self.settlement = PairSettlement(panel: panel, thresholds: thresholds)
    }

    /// Rows of one tile against columns of another; bounded so that all lags of a tile fit a cache.
    private static let tileRows = 64
    private static let tileColumns = 128

    /// All pairs of `rows` among themselves and with `others` (disjoint, ascending).
    mutating func run(rows: [Int], others: [Int], pairsWithinRows: Bool) {
        let screening = Screening(panel: self.panel)
        func packed(_ rows: [Int], by size: Int) -> [PackedRows] {
            stride(from: 0, to: rows.count, by: size).map {
                PackedRows(Array(rows[$0..<min($0 + size, rows.count)]), of: self.panel)
            }
        }
        let blocks = packed(rows, by: Self.tileRows)
        let columns = packed(others, by: Self.tileColumns)
        for (index, block) in blocks.enumerated() {
            if pairsWithinRows {
                self.take(screening.tile(block))
                for later in blocks[(index + 1)...] { self.take(screening.tile(block, later)) }
            }
            for column in columns {
                // The longer side lies along the vectors.
                let isWide = column.rows.count >= block.rows.count
                self.take(isWide ? screening.tile(block, column) : screening.tile(column, block))
            }
        }
    }

    private mutating func take(_ tile: ScreenedTile) {
        let columns = tile.columns.rows
        for (i, row) in tile.rows.rows.enumerated() {
            for j in (tile.isSquare ? i + 1 : 0)..<columns.count {
                let column = columns[j]
                let layer = self.numbers.layer(row, column)
                guard self.layers.contains(layer) else { continue }
                self.take(tile, i, j, row, column, layer)
            }
        }
    }

    private mutating func take(_ tile: ScreenedTile, _ i: Int, _ j: Int, _ row: Int, _ column: Int, _ layer: Layer) {
        self.count(row, column, layer) { $0.pairs += 1 }
        let states = (self.panel.present.states[row], self.panel.present.states[column])
        if states.0.isConstant || states.1.isConstant {
            self.reject(row, column, layer, .constant)
        } else if states.0.isShort || states.1.isShort {
            self.reject(row, column, layer, .short)
        } else if states.0.isMissing || states.1.isMissing {
            self.settle(row, column, layer, nil)
        } else {
            switch tile.length(i, j) {
            case .short: self.reject(row, column, layer, .short)
            case .unclear: self.settle(row, column, layer, nil)
            case .long:
                let bound = tile.bound(i, j)
                guard self.settlesAll || tile.largest(i, j) + bound >= Float(self.thresholds[layer]) - 1e-6 else {
                    return
                }
                self.settle(row, column, layer, tile.lags(i, j, isFlipped: row > column, bound: bound))
            }
        }
    }

    private mutating func settle(_ row: Int, _ column: Int, _ layer: Layer, _ screened: ScreenedLags?) {
        let pair = self.settlement.settle(min(row, column), max(row, column), layer: layer, screened: screened)
        switch pair.status {
        case .tested:
            if self.settlesAll || abs(pair.peak.score) >= self.thresholds[layer] { self.settled.append(pair) }
        case .short, .constant: self.reject(row, column, layer, pair.status)
        }
    }

    private mutating func reject(_ row: Int, _ column: Int, _ layer: Layer, _ status: SettledPair.Status) {
        self.count(row, column, layer) { status == .short ? ($0.short += 1) : ($0.constant += 1) }
        // Pairs of L1 are kept: their raw ticks may still tell what the grid cannot.
        guard self.settlesAll || layer == .direct else { return }
        self.settled.append(
            SettledPair(first: min(row, column), second: max(row, column), layer: layer, status: status))
    }

    /// Once for each asked event the pair belongs to.
    @inline(__always)
    private mutating func count(_ row: Int, _ column: Int, _ layer: Layer, _ change: (inout PairCounts) -> Void) {
        let events = (self.numbers.asked[row], self.numbers.asked[column])
        let size = Layer.allCases.count
        if events.0 >= 0 { change(&self.counts[Int(events.0) * size + layer.rawValue - 1]) }
        if events.1 >= 0, events.1 != events.0 {
            change(&self.counts[Int(events.1) * size + layer.rawValue - 1])
        }
    }
}
