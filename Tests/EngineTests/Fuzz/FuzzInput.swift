import Model
import PlantedData

/// Bytes read as numbers, names and series, so that any bytes at all are an input: random ones, or a file of the corpus. After
/// the last byte come zeros.
struct FuzzInput {
    let bytes: [UInt8]
    private var next = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    init(seed: UInt64, count: Int) {
        var numbers = SeededNumbers(seed: seed)
        self.bytes = (0..<count).map { _ in UInt8(truncatingIfNeeded: numbers.bits() >> 32) }
    }

    mutating func byte() -> UInt8 {
        guard self.next < self.bytes.count else { return 0 }
        defer { self.next += 1 }
        return self.bytes[self.next]
    }

    /// 0 ..< bound, bound up to 65,536.
    mutating func below(_ bound: Int) -> Int { (Int(self.byte()) << 8 | Int(self.byte())) % max(1, bound) }

    /// What series are made of: mostly plain numbers, now and then one that breaks sums, squares or divisions.
    mutating func value() -> Double {
        switch self.byte() {
        case 0: .nan
        case 1: .infinity
        case 2: -.infinity
        case 3: .greatestFiniteMagnitude
        case 4: -.greatestFiniteMagnitude
        case 5: .leastNonzeroMagnitude
        case 6: 1e300
        case 7: -0.0
        case 8: 1e9 + Double(self.byte()) * 1e-6
        case 9: 1e-300 * Double(self.byte())
        case 10: 9_007_199_254_740_992
        case 11...40: Double(self.byte() % 4)
        default: Double(Int8(bitPattern: self.byte())) / 16
        }
    }

    /// Constant, counting, random, a copy of another with a lag, or mostly missing.
    mutating func series(_ length: Int, like other: [Double]?) -> [Double] {
        switch self.byte() % 8 {
        case 0:
            let value = self.value()
            return Array(repeating: value, count: length)
        case 1: return (0..<length).map(Double.init)
        case 2:
            guard let other, !other.isEmpty else { return Array(repeating: .nan, count: length) }
            let (lag, sign) = (self.below(5), self.byte() % 2 == 0 ? 1.0 : -1.0)
            return (0..<length).map { $0 < lag ? 0 : sign * other[min($0 - lag, other.count - 1)] }
        case 3: return (0..<length).map { _ in self.byte() < 200 ? .nan : self.value() }
        case 4:
            // One spike.
            let place = self.below(max(1, length))
            let spike = self.value()
            return (0..<length).map { $0 == place ? spike : Double($0 % 3) }
        default:
            // Few bytes go a long way.
            let values = (0..<64).map { _ in self.value() }
            var numbers = SeededNumbers(seed: UInt64(self.byte()))
            return (0..<length).map { _ in values[Int(numbers.bits() % 64)] + 0.25 * numbers.normal() }
        }
    }

    mutating func node(_ count: Int) -> NodeKey {
        let number = self.below(count)
        return NodeKey(
            domain: "d", event: "e\(number / 6)", market: "m\(number / 3 % 2)", venue: "v\(number % 3)")
    }
}
