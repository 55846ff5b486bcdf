import Foundation

/// The same numbers on every machine: SplitMix64 (Steele, Lea and Flood 2014).
package struct SeededNumbers {
    private var state: UInt64

    package init(seed: UInt64) { self.state = seed &* 0x9E37_79B9_7F4A_7C15 &+ 1 }

    package mutating func bits() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var z = self.state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// In 0 ..< 1.
    package mutating func uniform() -> Double { Double(self.bits() >> 11) / 9_007_199_254_740_992 }

    /// Standard normal, by the method of Box and Muller.
    package mutating func normal() -> Double {
        (-2 * log(1 - self.uniform())).squareRoot() * cos(2 * .pi * self.uniform())
    }

    /// Student's t with three degrees of freedom.
    package mutating func heavy() -> Double {
        let (one, two, three) = (self.normal(), self.normal(), self.normal())
        return self.normal() / ((one * one + two * two + three * three) / 3).squareRoot()
    }
}
