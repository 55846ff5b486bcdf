/// Reading what request fields hold.
public enum FieldList {
    /// The elements of a list (RFC 9110, 5.6.1) without blanks around them; empty ones are left out. A comma between quotes is
    /// part of an element; where a quote does not end, the rest is one element.
    ///
    /// - Parameter escapes: whether a backslash between quotes takes the next character with it: in quoted strings (5.6.4), not
    ///   in entity tags (8.8.3).
    public static func elements(of field: String, escapes: Bool = true) -> [Substring] {
        var elements: [Substring] = []
        var start = field.startIndex
        var isQuoted = false
        var isEscaped = false
        func end(at index: String.Index) {
            let element = Self.trimmed(field[start..<index])
            if !element.isEmpty { elements.append(element) }
        }
        for index in field.utf8.indices {
            let byte = field.utf8[index]
            if isEscaped {
                isEscaped = false
            } else if byte == UInt8(ascii: "\"") {
                isQuoted.toggle()
            } else if isQuoted {
                isEscaped = escapes && byte == UInt8(ascii: "\\")
            } else if byte == UInt8(ascii: ",") {
                end(at: index)
                start = field.utf8.index(after: index)
            }
        }
        end(at: field.endIndex)
        return elements
    }

    /// The media type of a `Content-Type` (RFC 9110, 8.3.1) in lower case, without its parameters.
    public static func mediaType(_ field: String) -> String {
        self.trimmed(field[..<(field.utf8.firstIndex(of: UInt8(ascii: ";")) ?? field.endIndex)]).lowercased()
    }

    /// Without blanks and tabs at both ends.
    private static func trimmed(_ text: Substring) -> Substring {
        func isBlank(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
        var rest = text.utf8.drop(while: isBlank)
        while let last = rest.last, isBlank(last) { rest.removeLast() }
        return Substring(rest)
    }
}
