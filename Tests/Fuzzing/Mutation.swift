/// Changes one of the seeds in a few places: bytes, pieces of other seeds, pieces twice, pieces left out. The same number, the
/// same change.
package struct Mutation {
    private var state: UInt64
    /// What separates and ends things in the languages that are read at our doors.
    private static let marks = Array("\r\n\t :;,=.\"{}[]%/?&#-_+\\@0fA*\u{0}\u{7F}\u{80}\u{FF}".utf8)

    package init(seed: UInt64) { self.state = seed }

    /// - Parameter seeds: at least one.
    package func mutated(_ seeds: [[UInt8]]) -> [UInt8] {
        precondition(!seeds.isEmpty, "there must be something to change")
        var random = self
        func piece(of bytes: [UInt8]) -> ArraySlice<UInt8> {
            let start = random.below(bytes.count)
            return bytes[start..<min(bytes.count, start + 1 + random.below(24))]
        }
        var bytes = seeds[random.below(seeds.count)]
        for _ in 0..<(1 + random.below(6)) {
            let place = random.below(bytes.count + 1)
            switch random.below(6) {
            case 0 where place < bytes.count: bytes[place] = UInt8(random.below(256))
            case 1 where place < bytes.count: bytes[place] = Self.marks[random.below(Self.marks.count)]
            case 2: bytes.insert(Self.marks[random.below(Self.marks.count)], at: place)
            case 3 where !bytes.isEmpty: bytes.insert(contentsOf: piece(of: bytes), at: place)
            case 4: bytes.insert(contentsOf: piece(of: seeds[random.below(seeds.count)]), at: place)
            default: bytes.removeSubrange(place..<min(bytes.count, place + 1 + random.below(8)))
            }
        }
        return bytes
    }

    /// 0 ..< bound, 0 where there is no such number: SplitMix64 (Steele, Lea and Flood 2014).
    private mutating func below(_ bound: Int) -> Int {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = self.state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return Int((mixed ^ (mixed >> 31)) % UInt64(max(1, bound)))
    }
}
