import Synchronization

/// Memory of one evaluation, taken piece by piece and given back as a whole.
///
/// An evaluation needs some hundred kilobytes for a fraction of a millisecond. The allocator would return them to the
/// system each time, and the pages would have to be mapped and cleared again for the next one; a few pieces are kept
/// instead.
final class WorkMemory {
    private struct Chunk: @unchecked Sendable {
        // Owned by one holder at a time: the list of spare ones (under its lock) or one WorkMemory.
        let start: UnsafeMutableRawPointer
        let size: Int
    }

    /// Bytes of one kept piece at most; larger evaluations allocate what they need beyond it.
    private static let sizeLimit = 4 << 20
    private static let spareLimit = 4
    /// What vectors like best.
    private static let alignment = 64
    private static let spare = Mutex<[Chunk]>([])

    private let chunk: Chunk
    private var used = 0
    private var needed = 0
    private var others: [UnsafeMutableRawPointer] = []

    init() {
        self.chunk = Self.spare.withLock { $0.popLast() } ?? Self.chunk(of: 1 << 19)
    }

    deinit {
        for other in self.others { other.deallocate() }
        var kept = self.chunk
        if self.needed > kept.size, kept.size < Self.sizeLimit {
            kept.start.deallocate()
            kept = Self.chunk(of: min(self.needed, Self.sizeLimit))
        }
        let isKept = Self.spare.withLock { spare in
            guard spare.count < Self.spareLimit else { return false }
            spare.append(kept)
            return true
        }
        if !isKept { kept.start.deallocate() }
    }

    private static func chunk(of size: Int) -> Chunk {
        Chunk(start: .allocate(byteCount: size, alignment: self.alignment), size: size)
    }

    /// Room for `count` values that live as long as this memory; nothing is known of what is in it.
    func take<Value: BitwiseCopyable>(_ type: Value.Type, _ count: Int) -> UnsafeMutablePointer<Value> {
        let size = (count * MemoryLayout<Value>.stride + Self.alignment - 1) / Self.alignment * Self.alignment
        self.needed += size
        guard self.used + size <= self.chunk.size else {
            let other = UnsafeMutableRawPointer.allocate(byteCount: max(1, size), alignment: Self.alignment)
            self.others.append(other)
            return other.bindMemory(to: Value.self, capacity: count)
        }
        defer { self.used += size }
        return (self.chunk.start + self.used).bindMemory(to: Value.self, capacity: count)
    }

    func take<Value: BitwiseCopyable>(filledWith value: Value, _ count: Int) -> UnsafeMutablePointer<Value> {
        let values = self.take(Value.self, count)
        values.initialize(repeating: value, count: count)
        return values
    }
}
