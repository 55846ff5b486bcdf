/// What is wrong with a piece of JSON; safe to show, it repeats nothing of the input.
struct JSONFault: Error, Hashable {
    let detail: String
    init(_ detail: String) { self.detail = detail }
}

/// Walks one small JSON text (RFC 8259) strictly and without allocating, except for strings with escapes.
///
/// Nothing is tolerated that the standard does not allow: no comments, trailing commas, raw control characters, invalid UTF-8,
/// lone surrogates, leading zeros, NaN. Nesting is bounded by ``depthLimit``.
struct JSONCursor {
    static let depthLimit = 16

    let bytes: UnsafeBufferPointer<UInt8>
    var position = 0
    /// Text of strings that had escapes, without them.
    var unescaped: [UInt8]

    /// A string's bytes: in the input, or in ``unescaped``.
    struct Text {
        var start = 0
        var count = 0
        var isUnescaped = false
    }

    init(_ bytes: UnsafeBufferPointer<UInt8>, scratch: consuming [UInt8] = []) {
        self.bytes = bytes
        self.unescaped = scratch
        self.unescaped.removeAll(keepingCapacity: true)
    }

    var isAtEnd: Bool { self.position >= self.bytes.count }

    @inline(__always)
    mutating func skipSpace() {
        while self.position < self.bytes.count {
            switch self.bytes[self.position] {
            case 0x20, 0x0A, 0x0D, 0x09: self.position += 1
            default: return
            }
        }
    }

    /// The next byte that is not space; nil at the end. Does not move past it.
    @inline(__always)
    mutating func peek() -> UInt8? {
        self.skipSpace()
        return self.position < self.bytes.count ? self.bytes[self.position] : nil
    }

    @inline(__always)
    mutating func expect(_ byte: UInt8, _ what: String) throws(JSONFault) {
        guard self.peek() == byte else { throw JSONFault(what) }
        self.position += 1
    }

    func withBytes<Result>(_ text: Text, _ body: (UnsafeBufferPointer<UInt8>) -> Result) -> Result {
        if text.isUnescaped {
            return self.unescaped.withUnsafeBufferPointer {
                body(UnsafeBufferPointer(rebasing: $0[text.start..<text.start + text.count]))
            }
        }
        return body(UnsafeBufferPointer(rebasing: self.bytes[text.start..<text.start + text.count]))
    }

    func string(_ text: Text) -> String { self.withBytes(text) { String(decoding: $0, as: UTF8.self) } }

    /// Reads a string, the cursor being on its opening quote.
    mutating func text() throws(JSONFault) -> Text {
        self.position += 1
        let start = self.position
        while self.position < self.bytes.count {
            let byte = self.bytes[self.position]
            if byte == 0x22 {
                self.position += 1
                return Text(start: start, count: self.position - 1 - start)
            }
            if byte == 0x5C { return try self.escapedText(from: start) }
            try self.passCharacter(byte)
        }
        throw JSONFault("a string does not end")
    }

    /// Steps over one character of a string that is neither quote nor backslash.
    @inline(__always)
    private mutating func passCharacter(_ byte: UInt8) throws(JSONFault) {
        if byte >= 0x20, byte < 0x80 {
            self.position += 1
            return
        }
        guard byte >= 0x80 else { throw JSONFault("a string contains a raw control character") }
        try self.passSequence(byte)
    }

    /// Steps over one well-formed UTF-8 sequence (Unicode 15, table 3-7).
    private mutating func passSequence(_ lead: UInt8) throws(JSONFault) {
        let (length, second): (Int, ClosedRange<UInt8>) =
            switch lead {
            case 0xC2...0xDF: (2, 0x80...0xBF)
            case 0xE0: (3, 0xA0...0xBF)
            case 0xED: (3, 0x80...0x9F)
            case 0xE1...0xEF: (3, 0x80...0xBF)
            case 0xF0: (4, 0x90...0xBF)
            case 0xF1...0xF3: (4, 0x80...0xBF)
            case 0xF4: (4, 0x80...0x8F)
            default: (0, 0x80...0xBF)
            }
        guard length > 0, self.position + length <= self.bytes.count,
            second.contains(self.bytes[self.position + 1])
        else { throw JSONFault("the text is not valid UTF-8") }
        for offset in 2..<max(2, length) where self.bytes[self.position + offset] & 0xC0 != 0x80 {
            throw JSONFault("the text is not valid UTF-8")
        }
        self.position += length
    }

    private mutating func escapedText(from start: Int) throws(JSONFault) -> Text {
        let begin = self.unescaped.count
        self.unescaped.append(contentsOf: self.bytes[start..<self.position])
        while self.position < self.bytes.count {
            let byte = self.bytes[self.position]
            switch byte {
            case 0x22:
                self.position += 1
                return Text(start: begin, count: self.unescaped.count - begin, isUnescaped: true)
            case 0x5C:
                self.position += 1
                try self.escape()
            default:
                let before = self.position
                try self.passCharacter(byte)
                self.unescaped.append(contentsOf: self.bytes[before..<self.position])
            }
        }
        throw JSONFault("a string does not end")
    }

    /// Reads what follows a backslash.
    private mutating func escape() throws(JSONFault) {
        guard self.position < self.bytes.count else { throw JSONFault("a string does not end") }
        let byte = self.bytes[self.position]
        self.position += 1
        switch byte {
        case 0x22, 0x5C, 0x2F: self.unescaped.append(byte)
        case 0x62: self.unescaped.append(0x08)
        case 0x66: self.unescaped.append(0x0C)
        case 0x6E: self.unescaped.append(0x0A)
        case 0x72: self.unescaped.append(0x0D)
        case 0x74: self.unescaped.append(0x09)
        case 0x75: try self.unicodeEscape()
        default: throw JSONFault("a string contains an unknown escape")
        }
    }

    private mutating func unicodeEscape() throws(JSONFault) {
        var value = try self.fourHexDigits()
        if (0xD800...0xDBFF).contains(value) {
            guard self.position + 6 <= self.bytes.count, self.bytes[self.position] == 0x5C,
                self.bytes[self.position + 1] == 0x75
            else { throw JSONFault("a string contains half a surrogate pair") }
            self.position += 2
            let low = try self.fourHexDigits()
            guard (0xDC00...0xDFFF).contains(low) else { throw JSONFault("a string contains half a surrogate pair") }
            value = 0x10000 + (value - 0xD800) << 10 + (low - 0xDC00)
        }
        guard let scalar = Unicode.Scalar(value) else { throw JSONFault("a string contains half a surrogate pair") }
        self.unescaped.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
    }

    private mutating func fourHexDigits() throws(JSONFault) -> UInt32 {
        guard self.position + 4 <= self.bytes.count else { throw JSONFault("a string contains an unknown escape") }
        var value: UInt32 = 0
        for _ in 0..<4 {
            let byte = self.bytes[self.position]
            let digit: UInt8
            switch byte {
            case 0x30...0x39: digit = byte - 0x30
            case 0x41...0x46: digit = byte - 0x41 + 10
            case 0x61...0x66: digit = byte - 0x61 + 10
            default: throw JSONFault("a string contains an unknown escape")
            }
            value = value << 4 | UInt32(digit)
            self.position += 1
        }
        return value
    }
}
