/// Names as Prometheus wants them: letters, digits, `_` (and `:` in metric names), no digit first.
enum MetricName {
    /// Dots, dashes and everything else that may not stand in a name become `_`.
    static func sanitized(_ name: String) -> String {
        var text = ""
        for scalar in name.unicodeScalars {
            switch scalar {
            case "a"..."z", "A"..."Z", "0"..."9", "_", ":": text.unicodeScalars.append(scalar)
            default: text += "_"
            }
        }
        if text.isEmpty || text.unicodeScalars.first.map({ ("0"..."9").contains($0) }) == true { text = "_" + text }
        return text
    }

    static func counter(_ name: String) -> String {
        let name = Self.sanitized(name)
        return name.hasSuffix("_total") ? name : name + "_total"
    }

    /// Timers are seconds, except names that say milliseconds.
    static func timer(_ name: String) -> String {
        let name = Self.sanitized(name)
        return name.hasSuffix("_seconds") || name.hasSuffix("_ms") ? name : name + "_seconds"
    }

    /// Label names have no colon; `le` belongs to histograms.
    static func label(_ name: String) -> String {
        let name = Self.sanitized(name).replacing(":", with: "_")
        return name == "le" ? "label_le" : name
    }

    /// Backslash, quote and line feed escaped, as text format 0.0.4 asks.
    static func escapedValue(_ value: String) -> String {
        Self.escaped(value, quotes: true)
    }

    static func escapedHelp(_ text: String) -> String {
        Self.escaped(text, quotes: false)
    }

    /// Scalar by scalar: CR LF is one character, and so is a quote with an accent, but each holds a byte to escape.
    private static func escaped(_ text: String, quotes: Bool) -> String {
        var escaped = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\": escaped += "\\\\"
            case "\n": escaped += "\\n"
            case "\"" where quotes: escaped += "\\\""
            default: escaped.unicodeScalars.append(scalar)
            }
        }
        return escaped
    }
}
