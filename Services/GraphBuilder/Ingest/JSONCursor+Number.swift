/// A JSON number as written: `mantissa` x 10^`exponent`, exact when not `isCut`.
struct JSONNumber {
    var isNegative = false
    var mantissa: UInt64 = 0
    var exponent = 0
    /// More digits than `mantissa` holds.
    var isCut = false
    /// Written without fraction and exponent.
    var isWhole = true
    /// Its bytes in the input.
    var range = 0..<0

    /// The number as a 64-bit integer; nil when it was written with a fraction or exponent, or does not fit.
    var integer: Int64? {
        guard self.isWhole, !self.isCut, self.mantissa <= UInt64(Int64.max) else { return nil }
        return self.isNegative ? -Int64(self.mantissa) : Int64(self.mantissa)
    }

    /// Powers of ten that a double holds exactly.
    private static let powers: [Double] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
        1e20, 1e21, 1e22,
    ]

    /// The nearest double when mantissa and power of ten are both exact doubles, so that one rounding happens (Clinger 1990);
    /// nil for the rare rest.
    @inline(__always)
    var simpleDouble: Double? {
        guard !self.isCut, self.mantissa <= 1 << 53, self.exponent >= -22, self.exponent <= 22 else { return nil }
        let magnitude =
            self.exponent < 0
            ? Double(self.mantissa) / Self.powers[-self.exponent] : Double(self.mantissa) * Self.powers[self.exponent]
        return self.isNegative ? -magnitude : magnitude
    }
}

extension JSONCursor {
    /// Reads a number, the cursor being on its first byte.
    mutating func number() throws(JSONFault) -> JSONNumber {
        var number = JSONNumber()
        let start = self.position
        if self.bytes[self.position] == 0x2D {
            number.isNegative = true
            self.position += 1
        }
        let firstDigit = self.position
        self.digits(&number, shift: 0)
        let wholeDigits = self.position - firstDigit
        guard wholeDigits > 0 else { throw JSONFault("a value is not JSON") }
        guard wholeDigits == 1 || self.bytes[firstDigit] != 0x30 else { throw JSONFault("a number has a leading zero") }
        if self.position < self.bytes.count, self.bytes[self.position] == 0x2E {
            self.position += 1
            let before = self.position
            self.digits(&number, shift: -1)
            guard self.position > before else { throw JSONFault("a number ends with its decimal point") }
            number.isWhole = false
        }
        if self.position < self.bytes.count, self.bytes[self.position] | 0x20 == 0x65 {
            number.isWhole = false
            try self.exponent(&number)
        }
        number.range = start..<self.position
        return number
    }

    /// - Parameter shift: what each digit adds to the exponent: 0 before the decimal point, -1 after it.
    @inline(__always)
    private mutating func digits(_ number: inout JSONNumber, shift: Int) {
        while self.position < self.bytes.count {
            let digit = self.bytes[self.position] &- 0x30
            guard digit <= 9 else { return }
            if number.mantissa < 1_000_000_000_000_000_000 {
                number.mantissa = number.mantissa * 10 + UInt64(digit)
                number.exponent += shift
            } else {
                number.isCut = true
            }
            self.position += 1
        }
    }

    private mutating func exponent(_ number: inout JSONNumber) throws(JSONFault) {
        self.position += 1
        var isNegative = false
        if self.position < self.bytes.count, self.bytes[self.position] == 0x2B || self.bytes[self.position] == 0x2D {
            isNegative = self.bytes[self.position] == 0x2D
            self.position += 1
        }
        let before = self.position
        var value = 0
        while self.position < self.bytes.count {
            let digit = self.bytes[self.position] &- 0x30
            guard digit <= 9 else { break }
            value = min(100_000, value * 10 + Int(digit))
            self.position += 1
        }
        guard self.position > before else { throw JSONFault("a number ends with its exponent sign") }
        number.exponent += isNegative ? -value : value
    }

    /// The nearest double; infinite when it is beyond the range of doubles.
    func double(_ number: JSONNumber) -> Double {
        if let simple = number.simpleDouble { return simple }
        let text = String(decoding: self.bytes[number.range], as: UTF8.self)
        return Double(text) ?? .infinity
    }

    /// Steps over any value, checking it; the cursor may stand on space.
    mutating func skipValue(depth: Int) throws(JSONFault) {
        guard depth < Self.depthLimit else { throw JSONFault("it is nested deeper than \(Self.depthLimit) levels") }
        switch self.peek() {
        case 0x22: _ = try self.text()
        case 0x7B: try self.skipMembers(close: 0x7D, depth: depth, named: true)
        case 0x5B: try self.skipMembers(close: 0x5D, depth: depth, named: false)
        case 0x74: try self.word("true")
        case 0x66: try self.word("false")
        case 0x6E: try self.word("null")
        case 0x2D, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39: _ = try self.number()
        case nil: throw JSONFault("the text ends too early")
        default: throw JSONFault("a value is not JSON")
        }
    }

    private mutating func skipMembers(close: UInt8, depth: Int, named: Bool) throws(JSONFault) {
        self.position += 1
        if self.peek() == close {
            self.position += 1
            return
        }
        while true {
            if named {
                guard self.peek() == 0x22 else { throw JSONFault("a member's name is missing") }
                _ = try self.text()
                try self.expect(0x3A, "a colon is missing")
            }
            try self.skipValue(depth: depth + 1)
            guard let next = self.peek() else { throw JSONFault("the text ends too early") }
            self.position += 1
            if next == close { return }
            guard next == 0x2C else { throw JSONFault("a comma is missing") }
        }
    }

    mutating func word(_ word: StaticString) throws(JSONFault) {
        let length = word.utf8CodeUnitCount
        guard self.position + length <= self.bytes.count else { throw JSONFault("a value is not JSON") }
        for offset in 0..<length where self.bytes[self.position + offset] != word.utf8Start[offset] {
            throw JSONFault("a value is not JSON")
        }
        self.position += length
    }
}
