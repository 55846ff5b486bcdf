/// Numbers as people read them, the same in every locale.
enum Figure {
    /// With `digits` decimals; `-` for what is not finite or has too many digits to be exact.
    static func fixed(_ value: Double, _ digits: Int) -> String {
        var scale = 1.0
        for _ in 0..<digits { scale *= 10 }
        guard value.isFinite, abs(value) < 1e15, abs(value) * scale < 0x1p63 else { return "-" }
        let scaled = Int64((abs(value) * scale).rounded())
        let sign = value < 0 && scaled != 0 ? "-" : ""
        let whole = String(scaled / Int64(scale))
        guard digits > 0 else { return sign + whole }
        let fraction = String(scaled % Int64(scale))
        return sign + whole + "." + String(repeating: "0", count: digits - fraction.count) + fraction
    }

    /// With at least two significant digits for any size: `0.0012`, `1,234`, `1.5e-7`.
    static func significant(_ value: Double) -> String {
        guard value.isFinite else { return "-" }
        let size = abs(value)
        return switch size {
        case 0: "0"
        case 1e-3..<1: Self.fixed(value, 4)
        case 1..<100: Self.fixed(value, 2)
        case 100..<1e9: Self.grouped(Int(value.rounded()))
        default: Self.scientific(value)
        }
    }

    /// `1,234,567`
    static func grouped(_ value: Int) -> String {
        let digits = String(value.magnitude)
        var text = ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index) % 3 == 0 { text.append(",") }
            text.append(digit)
        }
        return value < 0 ? "-" + text : text
    }

    /// Milliseconds as `250 ms`, `15 s`, `2 min`, `3 h`.
    static func duration(milliseconds: Double) -> String {
        let size = abs(milliseconds)
        return switch size {
        case ..<1_000: "\(Self.fixed(milliseconds, 0)) ms"
        case ..<120_000: "\(Self.fixed(milliseconds / 1_000, size < 10_000 ? 1 : 0)) s"
        case ..<7_200_000: "\(Self.fixed(milliseconds / 60_000, 0)) min"
        default: "\(Self.fixed(milliseconds / 3_600_000, 1)) h"
        }
    }

    private static func scientific(_ value: Double) -> String {
        var exponent = 0
        var mantissa = abs(value)
        while mantissa >= 10 {
            mantissa /= 10
            exponent += 1
        }
        while mantissa < 1 {
            mantissa *= 10
            exponent -= 1
        }
        // 9.96 is written as 10.0, which is one power more.
        if mantissa >= 9.95 {
            mantissa /= 10
            exponent += 1
        }
        return (value < 0 ? "-" : "") + Self.fixed(mantissa, 1) + "e\(exponent)"
    }
}
