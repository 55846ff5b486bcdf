/// Numbers of texts by their bytes, in the order they are met first. Its memory is given back by ``deallocate()``.
struct TextTable {
    /// Another one each time, so that nobody can choose names that all meet in one place. Nothing of it gets out.
    private let seed = UInt64.random(in: .min ... .max)

    /// A text by its length and its first and last eight bytes, which overlap in a short one.
    private struct Outline: Equatable {
        var count: Int
        var head: UInt64
        var tail: UInt64

        @inline(__always)
        init(_ text: UnsafeRawPointer, _ count: Int) {
            self.count = count
            if count >= 8 {
                self.head = text.loadUnaligned(fromByteOffset: 0, as: UInt64.self)
                self.tail = text.loadUnaligned(fromByteOffset: count - 8, as: UInt64.self)
                return
            }
            self.tail = 0
            if count >= 4 {
                self.head =
                    UInt64(text.loadUnaligned(fromByteOffset: 0, as: UInt32.self)) << 32
                    | UInt64(text.loadUnaligned(fromByteOffset: count - 4, as: UInt32.self))
                return
            }
            self.head = 0
            for place in 0..<count {
                self.head = self.head << 8 | UInt64(text.load(fromByteOffset: place, as: UInt8.self))
            }
        }
    }

    private struct Entry {
        var outline: Outline
        var hash: UInt64
        var start: Int
    }

    private var bytes: [UInt8] = []
    private var count = 0
    /// Room for half as many as there are slots.
    private var entries: UnsafeMutablePointer<Entry>
    /// Numbers of entries, -1 where there is none; a power of two of them.
    private var slots: UnsafeMutablePointer<Int32>
    private var slotCount: Int

    init(capacity: Int) {
        self.slotCount = 2 * capacity
        self.slots = .allocate(capacity: self.slotCount)
        self.slots.initialize(repeating: -1, count: self.slotCount)
        self.entries = .allocate(capacity: capacity)
        self.bytes.reserveCapacity(16 * capacity)
    }

    func deallocate() {
        self.slots.deallocate()
        self.entries.deallocate()
    }

    @inline(__always)
    mutating func number(of text: String) -> Int32 {
        let found = text.utf8.withContiguousStorageIfAvailable { self.number(of: $0.baseAddress, $0.count) }
        return found ?? Array(text.utf8).withUnsafeBufferPointer { self.number(of: $0.baseAddress, $0.count) }
    }

    @inline(__always)
    private mutating func number(of start: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
        guard let start else { return self.number(of: UnsafeRawPointer(self.slots), 0) }
        return self.number(of: UnsafeRawPointer(start), count)
    }

    @inline(__always)
    private mutating func number(of text: UnsafeRawPointer, _ count: Int) -> Int32 {
        let outline = Outline(text, count)
        let hash = self.hash(text, outline)
        var slot = Int(truncatingIfNeeded: hash) & (self.slotCount - 1)
        while self.slots[slot] >= 0 {
            let entry = self.entries + Int(self.slots[slot])
            if entry.pointee.hash == hash, entry.pointee.outline == outline,
                count <= 16 || self.holds(entry.pointee.start, UnsafeRawBufferPointer(start: text, count: count))
            {
                return self.slots[slot]
            }
            slot = (slot + 1) & (self.slotCount - 1)
        }
        return self.add(
            UnsafeRawBufferPointer(start: text, count: count),
            Entry(outline: outline, hash: hash, start: self.bytes.count), at: slot)
    }

    /// Texts longer than what an outline has of them are compared byte by byte.
    private func holds(_ start: Int, _ text: UnsafeRawBufferPointer) -> Bool {
        self.bytes[start..<start + text.count].elementsEqual(text)
    }

    @inline(never)
    private mutating func add(_ text: UnsafeRawBufferPointer, _ entry: Entry, at slot: Int) -> Int32 {
        let number = self.count
        self.slots[slot] = Int32(number)
        (self.entries + number).initialize(to: entry)
        self.bytes.append(contentsOf: text)
        self.count += 1
        if 2 * self.count >= self.slotCount { self.grow() }
        return Int32(number)
    }

    private mutating func grow() {
        let entries = UnsafeMutablePointer<Entry>.allocate(capacity: self.slotCount)
        entries.moveInitialize(from: self.entries, count: self.count)
        self.deallocate()
        self.entries = entries
        self.slotCount *= 2
        self.slots = .allocate(capacity: self.slotCount)
        self.slots.initialize(repeating: -1, count: self.slotCount)
        for number in 0..<self.count {
            var slot = Int(truncatingIfNeeded: entries[number].hash) & (self.slotCount - 1)
            while self.slots[slot] >= 0 { slot = (slot + 1) & (self.slotCount - 1) }
            self.slots[slot] = Int32(number)
        }
    }

    @inline(__always)
    private func hash(_ text: UnsafeRawPointer, _ outline: Outline) -> UInt64 {
        func mixed(_ state: UInt64, _ word: UInt64) -> UInt64 {
            let product = (state ^ word).multipliedFullWidth(by: 0x9E37_79B9_7F4A_7C15)
            return product.high ^ product.low
        }
        var state = mixed(mixed(self.seed ^ UInt64(outline.count), outline.head), outline.tail)
        var at = 8
        while at + 8 < outline.count {
            state = mixed(state, text.loadUnaligned(fromByteOffset: at, as: UInt64.self))
            at += 8
        }
        return state
    }

    /// By number, the place of the text in the order of bytes.
    func ranks() -> [Int32] {
        self.bytes.withUnsafeBufferPointer { bytes in
            func text(_ number: Int) -> Slice<UnsafeBufferPointer<UInt8>> {
                let entry = self.entries[number]
                return bytes[entry.start..<entry.start + entry.outline.count]
            }
            let order = (0..<self.count).sorted { text($0).lexicographicallyPrecedes(text($1)) }
            var ranks = [Int32](repeating: 0, count: order.count)
            for (rank, number) in order.enumerated() { ranks[number] = Int32(rank) }
            return ranks
        }
    }
}
