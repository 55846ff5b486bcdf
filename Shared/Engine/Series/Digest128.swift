import Model

/// A sum modulo 2^128 of hashes of observations: independent of order, and O(1) to update when one arrives or goes.
///
/// It finds accidental differences between two sets of observations; it is no protection against somebody who builds
/// sets with equal digests on purpose.
public struct Digest128: Hashable, Sendable {
    public private(set) var high: UInt64
    public private(set) var low: UInt64

    /// The digest of no observation.
    public static let zero = Digest128(high: 0, low: 0)

    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// The digest of one observation; -0 counts as 0.
    public init(node: NodeID, timeMs: Int64, value: Double) {
        self.init([
            UInt64(bitPattern: node.rawValue), UInt64(bitPattern: timeMs), (value == 0 ? 0 : value).bitPattern,
        ])
    }

    /// The digest of what one bucket of a node comes to; -0 counts as 0.
    ///
    /// - Parameter checksum: of the bucket's observations.
    public init(node: NodeID, bucket: Int64, aggregate: Double, checksum: UInt32) {
        self.init([
            UInt64(bitPattern: node.rawValue), UInt64(bitPattern: bucket),
            (aggregate == 0 ? 0 : aggregate).bitPattern, UInt64(checksum),
        ])
    }

    @inline(__always)
    private init<let count: Int>(_ words: InlineArray<count, UInt64>) {
        var high: UInt64 = 0x243F_6A88_85A3_08D3
        var low: UInt64 = 0x1319_8A2E_0370_7344
        for index in words.indices {
            high = Self.mixed(high ^ words[index])
            low = Self.mixed(low &+ words[index] &* 0x9E37_79B9_7F4A_7C15)
            (high, low) = (high ^ (low >> 32 | low << 32), low &+ high)
        }
        self.init(high: Self.mixed(high), low: Self.mixed(low))
    }

    /// The finaliser of SplitMix64 (Steele, Lea and Flood 2014): a bijection in which each input bit flips half the output.
    private static func mixed(_ value: UInt64) -> UInt64 {
        var mixed = value
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    /// Adds an observation that was not in the set before, or the digest of a disjoint set.
    public mutating func add(_ other: Digest128) {
        let (sum, carry) = self.low.addingReportingOverflow(other.low)
        self.low = sum
        self.high = self.high &+ other.high &+ (carry ? 1 : 0)
    }

    /// Takes back an observation that is in the set.
    public mutating func remove(_ other: Digest128) {
        let (difference, borrow) = self.low.subtractingReportingOverflow(other.low)
        self.low = difference
        self.high = self.high &- other.high &- (borrow ? 1 : 0)
    }

    /// 32 hexadecimal digits.
    public var hex: String { Self.hex(self.high) + Self.hex(self.low) }

    private static func hex(_ word: UInt64) -> String {
        let digits = String(word, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
