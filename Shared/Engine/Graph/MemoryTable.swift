import Model

/// Ends of edges by the memory of their nodes. Whatever a node is made of, one of the same bits is the same node while both live;
/// the other way round it need not be.
struct MemoryTable {
    private typealias Bits = SIMD8<UInt64>
    private let edges: UnsafeRawBufferPointer
    private let source = MemoryLayout<Edge>.offset(of: \.source)
    private let target = MemoryLayout<Edge>.offset(of: \.target)
    /// Where ends of so far different memory are met first, -1 where there is none; a power of two of them, twice as many as ends.
    private var slots: [Int32]
    private let seed = UInt64.random(in: .min ... .max)

    init(_ edges: UnsafeBufferPointer<Edge>) {
        self.edges = UnsafeRawBufferPointer(edges)
        var count = 64
        while count < 4 * edges.count { count *= 2 }
        let fits = MemoryLayout<NodeKey>.size == MemoryLayout<Bits>.size && self.source != nil && self.target != nil
        self.slots = [Int32](repeating: -1, count: fits ? count : 0)
    }

    /// Read where it lies: a copy of a node would hold on to its names.
    @inline(__always)
    private func bits(_ place: Int, _ source: Int, _ target: Int) -> Bits {
        let edge = place / 2 * MemoryLayout<Edge>.stride
        return self.edges.loadUnaligned(fromByteOffset: edge + (place % 2 == 0 ? source : target), as: Bits.self)
    }

    /// The number of the end of the same memory among those before; nil when it is the first.
    @inline(__always)
    mutating func number(at place: Int, numbers: [Int32]) -> Int32? {
        guard !self.slots.isEmpty, let source = self.source, let target = self.target else { return nil }
        let bits = self.bits(place, source, target)
        var state = self.seed
        for pair in 0..<4 {
            let product = (state ^ bits[2 * pair]).multipliedFullWidth(by: bits[2 * pair + 1] ^ 0x9E37_79B9_7F4A_7C15)
            state = product.high ^ product.low
        }
        var slot = Int(truncatingIfNeeded: state ^ state >> 32) & (self.slots.count - 1)
        while self.slots[slot] >= 0 {
            if self.bits(Int(self.slots[slot]), source, target) == bits { return numbers[Int(self.slots[slot])] }
            slot = (slot + 1) & (self.slots.count - 1)
        }
        self.slots[slot] = Int32(place)
        return nil
    }
}
