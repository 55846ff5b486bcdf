import Model

/// From the bytes of a body to chunks of valid observations and verdicts on the others. Values in, values out.
struct IngestDecoder {
    /// Most verdicts reported; the rest is only counted.
    static let verdictLimit = 1_000

    private var scanner: BodyScanner
    private let nodes: NodeTable
    /// The wall clock when the request came; only refuses times in the future.
    private let now: Timestamp
    /// Lines after which ``feed(_:_:)`` stops for a commit; nil: never.
    private let linesPerChunk: Int?
    private var key: [UInt8] = []
    private var scratch: [UInt8] = []
    private var linesInChunk = 0

    var chunk = IngestChunk()
    private(set) var verdicts: [ItemVerdict] = []
    private(set) var rejected = 0
    /// Items seen, valid or not.
    private(set) var items = 0

    init(format: BodyScanner.Format, nodes: NodeTable, now: Timestamp, linesPerChunk: Int?) {
        self.scanner = BodyScanner(format: format)
        self.nodes = nodes
        self.now = now
        self.linesPerChunk = linesPerChunk
    }

    /// Decodes a piece of the body.
    /// - Returns: bytes used. Fewer than given: ``chunk`` is full; take it with ``takeChunk()`` and give the rest again.
    mutating func feed(_ bytes: UnsafeBufferPointer<UInt8>) throws(Problem) -> Int {
        var scanner = BodyScanner(format: self.scanner.format)
        swap(&scanner, &self.scanner)
        defer { swap(&scanner, &self.scanner) }
        return try scanner.feed(bytes) { (piece, line) throws(Problem) in self.take(piece, line) }
    }

    mutating func finish() throws(Problem) {
        var scanner = BodyScanner(format: self.scanner.format)
        swap(&scanner, &self.scanner)
        defer { swap(&scanner, &self.scanner) }
        try scanner.finish { (piece, line) throws(Problem) in self.take(piece, line) }
    }

    mutating func takeChunk() -> IngestChunk {
        self.linesInChunk = 0
        let full = self.chunk
        self.chunk = IngestChunk()
        self.chunk.rows.reserveCapacity(min(full.rows.count, 10_000))
        return full
    }

    /// - Returns: false when the chunk is full.
    private mutating func take(_ piece: BodyScanner.Piece, _ line: Int) -> Bool {
        self.items += 1
        do throws(ItemVerdict) {
            guard case .item(let bytes) = piece else {
                throw ItemVerdict(line: line, field: nil, detail: "is longer than \(BodyScanner.itemLimit) bytes")
            }
            try self.take(item: bytes)
        } catch {
            self.rejected += 1
            if self.verdicts.count < Self.verdictLimit {
                self.verdicts.append(ItemVerdict(line: line, field: error.field, detail: error.detail))
            }
        }
        self.linesInChunk += 1
        return self.linesPerChunk.map { self.linesInChunk < $0 } ?? true
    }

    private mutating func take(item bytes: UnsafeBufferPointer<UInt8>) throws(ItemVerdict) {
        let scratch = self.scratch
        self.scratch = []
        let (item, cursor) = try ObservationParser.parse(bytes, scratch: scratch)
        let node = try self.node(of: item, cursor)
        self.scratch = cursor.unescaped
        do throws(ValidationError) {
            try Observation.validate(
                time: Timestamp(milliseconds: item.timeMs), value: item.value, now: self.now)
        } catch {
            throw ItemVerdict(line: 0, field: error.field, detail: error.rule)
        }
        // Negative zero equals zero in the database's order; one spelling, one observation.
        let value = item.value == 0 ? 0 : item.value
        self.chunk.append(.init(shard: node.shard, node: node.id, timeMs: item.timeMs, value: value))
    }

    /// Finds the node of an item; one the database may not know yet is noted in the chunk.
    private mutating func node(
        of item: ObservationParser.Item, _ cursor: JSONCursor
    ) throws(ItemVerdict) -> NodeTable.Node {
        self.key.removeAll(keepingCapacity: true)
        cursor.withBytes(item.domain) { self.key.append(contentsOf: $0) }
        self.key.append(0x1F)
        cursor.withBytes(item.event) { self.key.append(contentsOf: $0) }
        self.key.append(0x1F)
        cursor.withBytes(item.market) { self.key.append(contentsOf: $0) }
        self.key.append(0x1F)
        cursor.withBytes(item.venue) { self.key.append(contentsOf: $0) }
        if let known = self.nodes.find(self.key), known.isStored || self.chunk.newNodes[known.id] != nil {
            return known
        }
        let names = try Self.names(of: item, cursor)
        let node = self.nodes.insert(
            self.key, .init(id: names.id.rawValue, shard: Int16(Shard(event: names.event).rawValue), isStored: false))
        self.chunk.newNodes[node.id] = names
        return node
    }

    private static func names(
        of item: ObservationParser.Item, _ cursor: JSONCursor
    ) throws(ItemVerdict) -> NodeKey {
        do throws(ValidationError) {
            return try NodeKey(
                validatingDomain: cursor.string(item.domain), event: cursor.string(item.event),
                market: cursor.string(item.market), venue: cursor.string(item.venue))
        } catch {
            throw ItemVerdict(line: 0, field: error.field, detail: error.rule)
        }
    }
}
