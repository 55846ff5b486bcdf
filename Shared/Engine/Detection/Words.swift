import Foundation

/// How numbers read in the reasons of findings.
enum Words {
    /// Three significant digits, plain where that is short.
    static func number(_ value: Double) -> String { String(format: "%.3g", value) }

    /// A correlation with its sign, two decimals.
    static func correlation(_ value: Double) -> String { String(format: "%+.2f", value) }

    /// A duration given in milliseconds, in the largest unit that keeps it readable.
    static func duration(milliseconds: Double) -> String {
        let size = abs(milliseconds)
        if size < 1_000 { return "\(Self.number(milliseconds)) ms" }
        if size < 120_000 { return "\(Self.number(milliseconds / 1_000)) s" }
        if size < 7_200_000 { return "\(Self.number(milliseconds / 60_000)) min" }
        return "\(Self.number(milliseconds / 3_600_000)) h"
    }
}
