import Model

/// Goes over all asked pairs of one panel: counts what cannot be tested, prunes what cannot pass, settles the rest.
///
/// A pair is pruned only when float r at every lag is farther under its threshold than the error bound, so the outcome is
/// the one of settling every pair.
struct PairScan {
    let panel: SeriesPanel
    let numbers: NodeNumbers
    let thresholds: LayerThresholds
    let settlesAll: Bool
    let arithmetic: ScreenArithmetic
    private let observer: EvaluationStage.Observer?
    /// By layer (raw value): what |r| plus its error has to reach to be settled; infinite where the layer is not asked for.
    private let limits: [Float]
    /// The least of these.
    private let leastLimit: Float
    /// Columns of the row in hand that have to be looked at.
    private let found: UnsafeMutablePointer<Int32>
    /// Float r of the pair in hand by signed lag.
    private let curve: UnsafeMutablePointer<Float>
    /// By asked event, then layer (raw value - 1).
    private(set) var counts: [PairCounts]
    /// Tested pairs with |r| at or above the threshold, and untestable pairs of L1; every pair when all are settled.
    private(set) var settled: [SettledPair] = []
    private let settlement: PairSettlement

    init(
        panel: SeriesPanel, numbers: NodeNumbers, thresholds: LayerThresholds, layers: Set<Layer>, events: Int,
        settlesAll: Bool, arithmetic: ScreenArithmetic = .fastest, observer: EvaluationStage.Observer? = nil
    ) {
        self.panel = panel
        self.numbers = numbers
        self.thresholds = thresholds
        self.settlesAll = settlesAll
        self.observer = observer
        // Sums of products of more bytes than that may not fit 32 bits.
        self.arithmetic = panel.present.length < 60_000 ? arithmetic : .floats
        self.limits =
            [.infinity]
            + Layer.allCases.map { layer in
                guard layers.contains(layer) else { return .infinity }
                return settlesAll ? -1 : Float(thresholds[layer]) - 1e-6
            }
        self.leastLimit = self.limits.min() ?? .infinity
        self.found = panel.memory.take(Int32.self, Self.tileColumns)
        self.curve = panel.memory.take(Float.self, 2 * panel.shape.lag + 1)
        self.counts = [PairCounts](repeating: PairCounts(), count: events * Layer.allCases.count)
        self.settlement = PairSettlement(panel: panel, thresholds: thresholds)
    }

    /// Rows of one tile against columns of another; bounded so that all lags of a tile fit a cache.
    private static let tileRows = 64
    private static let tileColumns = 128

    /// All pairs of `rows` among themselves and with `others` (disjoint, ascending).
    mutating func run(rows: [Int], others: [Int], pairsWithinRows: Bool) {
        self.observer?(.prepare)
        func packed(_ rows: [Int], by size: Int) -> [PackedRows] {
            stride(from: 0, to: rows.count, by: size).map {
                PackedRows(Array(rows[$0..<min($0 + size, rows.count)]), of: self.panel, arithmetic: self.arithmetic)
            }
        }
        let blocks = packed(rows, by: Self.tileRows)
        let columns = packed(others, by: Self.tileColumns)
        let height = blocks.map(\.width).max() ?? 0
        let width = max(pairsWithinRows ? height : 0, columns.map(\.width).max() ?? 0)
        var tiles: [Tile] = []
        for (index, block) in blocks.enumerated() {
            if pairsWithinRows {
                tiles.append(Tile(rows: block, columns: block, isSquare: true))
                tiles += blocks[(index + 1)...].map { Tile(rows: block, columns: $0, isSquare: false) }
            }
            tiles += columns.map { Tile(rows: block, columns: $0, isSquare: false) }
        }
        self.screen(tiles, size: height * width)
    }

    private struct Tile {
        let rows: PackedRows
        let columns: PackedRows
        let isSquare: Bool
    }

    /// Screens as many tiles at once as there are threads, each into memory of its own, and takes them in their order: so what
    /// comes out does not depend on the threads.
    private mutating func screen(_ tiles: [Tile], size: Int) {
        let lanes = min(EngineHardware.threads, tiles.count)
        guard lanes > 0 else { return }
        let screenings = (0..<lanes).map { _ in
            Screening(panel: self.panel, arithmetic: self.arithmetic, size: size)
        }
        var screened = [ScreenedTile?](repeating: nil, count: lanes)
        for start in stride(from: 0, to: tiles.count, by: lanes) {
            let count = min(lanes, tiles.count - start)
            self.observer?(.screen)
            screened.withUnsafeMutableBufferPointer { results in
                let results = results
                EngineHardware.spread(count) { lane in
                    let tile = tiles[start + lane]
                    results[lane] = screenings[lane].tile(tile.rows, tile.columns, isSquare: tile.isSquare)
                }
            }
            self.observer?(.settle)
            for tile in screened[..<count] {
                if let tile { self.take(tile) }
            }
        }
    }

    private mutating func take(_ tile: ScreenedTile) {
        let columns = tile.columns.rows
        let spans = self.numbers.eventSpans(columns)
        for (i, row) in tile.rows.rows.enumerated() {
            let first = tile.isSquare ? i + 1 : 0
            for span in spans where span.upperBound > first {
                self.countPairs(row, columns, span, from: first)
            }
            for place in 0..<tile.candidates(i, from: first, limit: self.leastLimit, into: self.found) {
                let j = Int(self.found[place])
                let column = columns[j]
                let layer = self.numbers.layer(row, column)
                guard self.limits[layer.rawValue] < .infinity else { continue }
                self.take(tile, i, j, row, column, layer)
            }
        }
    }

    /// Counts the pairs of a row and the columns of one event, by layer.
    private mutating func countPairs(_ row: Int, _ columns: [Int], _ span: Range<Int>, from first: Int) {
        let within = max(first, span.lowerBound)..<span.upperBound
        let column = columns[within.lowerBound]
        let (asked, other) = (self.numbers.asked[row], self.numbers.asked[column])
        guard asked >= 0 || other >= 0 else { return }
        func add(_ count: Int, _ layer: Layer) {
            guard count > 0, self.limits[layer.rawValue] < .infinity else { return }
            let place = layer.rawValue - 1
            if asked >= 0 { self.counts[Int(asked) * Layer.allCases.count + place].pairs += count }
            if other >= 0, other != asked { self.counts[Int(other) * Layer.allCases.count + place].pairs += count }
        }
        guard self.numbers.domain[row] == self.numbers.domain[column] else {
            add(within.count, .crossDomain)
            return
        }
        guard self.numbers.event[row] == self.numbers.event[column] else {
            add(within.count, .crossEvent)
            return
        }
        let direct = self.numbers.columns(columns, within, ofMarket: self.numbers.market[row])
        add(direct, .direct)
        add(within.count - direct, .crossMarket)
    }

    @inline(__always)
    private mutating func take(_ tile: ScreenedTile, _ i: Int, _ j: Int, _ row: Int, _ column: Int, _ layer: Layer) {
        let (first, second) = (self.panel.present.states[row], self.panel.present.states[column])
        guard first.isPlain, second.isPlain else {
            if first.isConstant || second.isConstant {
                self.reject(row, column, layer, .constant)
            } else if first.isShort || second.isShort {
                self.reject(row, column, layer, .short)
            } else {
                self.settle(row, column, layer, nil)
            }
            return
        }
        switch tile.length(i, j) {
        case .short: self.reject(row, column, layer, .short)
        case .unclear: self.settle(row, column, layer, nil)
        case .long:
            let bound = tile.bound(i, j)
            // `limits` has one place per layer and one before them.
            guard tile.largest(i, j) + bound >= self.limits[layer.rawValue] else { return }
            tile.lags(i, j, isFlipped: row > column, into: self.curve)
            self.settle(
                row, column, layer,
                ScreenedLags(
                    scores: UnsafeBufferPointer(start: self.curve, count: 2 * self.panel.shape.lag + 1), bound: bound))
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
        self.count(row, column, layer, status == .short ? \.short : \.constant)
        // Pairs of L1 are kept: their raw ticks may still tell what the grid cannot.
        guard self.settlesAll || layer == .direct else { return }
        self.settled.append(
            SettledPair(first: min(row, column), second: max(row, column), layer: layer, status: status))
    }

    /// Once for each asked event the pair belongs to.
    private mutating func count(_ row: Int, _ column: Int, _ layer: Layer, _ part: WritableKeyPath<PairCounts, Int>) {
        let events = (self.numbers.asked[row], self.numbers.asked[column])
        let size = Layer.allCases.count
        if events.0 >= 0 { self.counts[Int(events.0) * size + layer.rawValue - 1][keyPath: part] += 1 }
        if events.1 >= 0, events.1 != events.0 {
            self.counts[Int(events.1) * size + layer.rawValue - 1][keyPath: part] += 1
        }
    }
}
