import Model

/// The nodes at the ends of some edges, numbered in ascending order of their names.
///
/// Nodes and names repeat. A node that shares its memory with one met before is told by that alone; else each name is numbered
/// once, by its bytes, and a node is four such numbers. So no name is compared with more than a few others, and nodes are sorted
/// as numbers.
struct NodeInterning {
    /// Ascending.
    let nodes: [NodeKey]
    /// By edge, source then target: the position among `nodes`.
    let ends: [Int32]

    init(edges: [Edge]) {
        var texts = TextTable(capacity: 64)
        defer { texts.deallocate() }
        var table = PartsTable(capacity: 64)
        var ends: [Int32] = []
        ends.reserveCapacity(2 * edges.count)
        edges.withUnsafeBufferPointer { edges in
            var met = MemoryTable(edges)
            for place in 0..<2 * edges.count {
                if let number = met.number(at: place, numbers: ends) {
                    ends.append(number)
                    continue
                }
                ends.append(table.number(of: Self.parts(edges, place, &texts)))
            }
        }
        let ranks = texts.ranks()
        var keys: [Key] = []
        keys.reserveCapacity(table.distinct.count)
        for (number, part) in table.distinct.enumerated() {
            let parts = Parts(ranks[Int(part[0])], ranks[Int(part[1])], ranks[Int(part[2])], ranks[Int(part[3])])
            keys.append(Key(parts, number: number))
        }
        keys.sort()
        var positions = [Int32](repeating: 0, count: keys.count)
        for (position, key) in keys.enumerated() { positions[key.number] = Int32(position) }
        // Where each node is met first.
        var first = [Int](repeating: -1, count: keys.count)
        for place in ends.indices.reversed() {
            ends[place] = positions[Int(ends[place])]
            first[Int(ends[place])] = place
        }
        self.ends = ends
        self.nodes = first.map { $0 % 2 == 0 ? edges[$0 / 2].source : edges[$0 / 2].target }
    }

    /// Name by name: a copy of a node would hold on to all four.
    @inline(__always)
    private static func parts(_ edges: UnsafeBufferPointer<Edge>, _ place: Int, _ texts: inout TextTable) -> Parts {
        let edge = place / 2
        return place % 2 == 0
            ? Parts(
                texts.number(of: edges[edge].source.domain), texts.number(of: edges[edge].source.event),
                texts.number(of: edges[edge].source.market), texts.number(of: edges[edge].source.venue))
            : Parts(
                texts.number(of: edges[edge].target.domain), texts.number(of: edges[edge].target.event),
                texts.number(of: edges[edge].target.market), texts.number(of: edges[edge].target.venue))
    }

    /// Domain, event, market and venue as numbers.
    typealias Parts = SIMD4<Int32>

    /// Sorted as two numbers.
    private struct Key: Comparable {
        let high: UInt64
        let low: UInt64
        let number: Int

        init(_ parts: Parts, number: Int) {
            self.high = UInt64(UInt32(parts[0])) << 32 | UInt64(UInt32(parts[1]))
            self.low = UInt64(UInt32(parts[2])) << 32 | UInt64(UInt32(parts[3]))
            self.number = number
        }

        static func < (left: Self, right: Self) -> Bool {
            left.high != right.high ? left.high < right.high : left.low < right.low
        }
    }
}

/// Numbers of nodes by the numbers of their names, in the order they are met first.
private struct PartsTable {
    private(set) var distinct: [NodeInterning.Parts] = []
    private var slots: [Int32]

    init(capacity: Int) { self.slots = [Int32](repeating: -1, count: 2 * capacity) }

    @inline(__always)
    private func start(_ parts: NodeInterning.Parts) -> Int {
        let mixed = UInt64(bitPattern: Int64(parts[3])) | UInt64(bitPattern: Int64(parts[2])) << 32
        let other = UInt64(bitPattern: Int64(parts[1])) | UInt64(bitPattern: Int64(parts[0])) << 32
        let product = (mixed ^ 0x2545_F491_4F6C_DD1D).multipliedFullWidth(by: other ^ 0x9E37_79B9_7F4A_7C15)
        return Int(truncatingIfNeeded: product.high ^ product.low) & (self.slots.count - 1)
    }

    mutating func number(of parts: NodeInterning.Parts) -> Int32 {
        var slot = self.start(parts)
        while self.slots[slot] >= 0 {
            if self.distinct[Int(self.slots[slot])] == parts { return self.slots[slot] }
            slot = (slot + 1) & (self.slots.count - 1)
        }
        let number = Int32(self.distinct.count)
        self.slots[slot] = number
        self.distinct.append(parts)
        if 2 * self.distinct.count > self.slots.count { self.grow() }
        return number
    }

    private mutating func grow() {
        self.slots = [Int32](repeating: -1, count: 2 * self.slots.count)
        for (number, parts) in self.distinct.enumerated() {
            var slot = self.start(parts)
            while self.slots[slot] >= 0 { slot = (slot + 1) & (self.slots.count - 1) }
            self.slots[slot] = Int32(number)
        }
    }
}
