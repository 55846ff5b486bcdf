/// SplitMix64 (Steele, Lea and Flood 2014): the same numbers from the same seed on every machine.
public struct RandomStream: RandomNumberGenerator, Sendable {
    private var state: UInt64

    public init(seed: UInt64) { self.state = seed }

    public mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = self.state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    /// Uniform in 0 ..< 1, from the upper 53 bits.
    public mutating func uniform() -> Double { Double(self.next() >> 11) * 0x1p-53 }

    /// Uniform in 0 ..< bound, without bias (Lemire 2019).
    ///
    /// - Precondition: `bound` is above 0.
    public mutating func below(_ bound: Int) -> Int {
        precondition(bound > 0, "there is no number below 0 to draw")
        var product = self.next().multipliedFullWidth(by: UInt64(bound))
        let limit = (0 &- UInt64(bound)) % UInt64(bound)
        while product.low < limit { product = self.next().multipliedFullWidth(by: UInt64(bound)) }
        return Int(product.high)
    }
}
