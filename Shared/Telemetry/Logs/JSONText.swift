/// JSON string literals, without an encoder in the way of the hot path.
enum JSONText {
    /// Appends `text` quoted and escaped; at most `limit` bytes of it.
    static func append(_ text: String, to line: inout String, limit: Int = .max) {
        line += "\""
        var length = 0
        for scalar in text.unicodeScalars {
            length += UTF8.width(scalar)
            if length > limit { break }
            switch scalar {
            case "\"": line += "\\\""
            case "\\": line += "\\\\"
            case "\n": line += "\\n"
            case "\r": line += "\\r"
            case "\t": line += "\\t"
            case "\u{00}"..."\u{1F}":
                let code = String(scalar.value, radix: 16)
                line += "\\u" + String(repeating: "0", count: 4 - code.utf8.count) + code
            default: line.unicodeScalars.append(scalar)
            }
        }
        line += "\""
    }
}
