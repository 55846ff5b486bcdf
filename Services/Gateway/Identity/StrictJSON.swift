/// JSON as tokens need it: a value tree that refuses what readers disagree about, duplicate names above all.
///
/// Bounds: the caller bounds the bytes; nesting is at most ``depthLimit``. Cost O(bytes).
enum StrictJSON: Hashable, Sendable {
    case null
    case bool(Bool)
    case number(Double)
    case string(String)
    case array([StrictJSON])
    case object([String: StrictJSON])

    static let depthLimit = 16

    /// - Returns: nil unless `bytes` are exactly one JSON value in UTF-8 without duplicate names.
    static func parse(_ bytes: [UInt8]) -> StrictJSON? {
        var reader = Reader(bytes: bytes)
        reader.skipSpace()
        guard let value = reader.value(depth: 0) else { return nil }
        reader.skipSpace()
        return reader.index == bytes.count ? value : nil
    }

    var text: String? { if case .string(let text) = self { text } else { nil } }
    var double: Double? { if case .number(let number) = self { number } else { nil } }
    var list: [StrictJSON]? { if case .array(let list) = self { list } else { nil } }
    var fields: [String: StrictJSON]? { if case .object(let fields) = self { fields } else { nil } }
}

extension StrictJSON {
    private struct Reader {
        let bytes: [UInt8]
        var index = 0

        var current: UInt8? { self.index < self.bytes.count ? self.bytes[self.index] : nil }

        mutating func skipSpace() {
            while let byte = self.current, byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D {
                self.index += 1
            }
        }

        mutating func take(_ byte: UInt8) -> Bool {
            guard self.current == byte else { return false }
            self.index += 1
            return true
        }

        mutating func literal(_ text: StaticString, _ value: StrictJSON) -> StrictJSON? {
            for byte in text.description.utf8 {
                guard self.take(byte) else { return nil }
            }
            return value
        }

        mutating func value(depth: Int) -> StrictJSON? {
            guard depth < StrictJSON.depthLimit, let byte = self.current else { return nil }
            switch byte {
            case UInt8(ascii: "{"): return self.object(depth: depth)
            case UInt8(ascii: "["): return self.array(depth: depth)
            case UInt8(ascii: "\""): return self.string().map(StrictJSON.string)
            case UInt8(ascii: "t"): return self.literal("true", .bool(true))
            case UInt8(ascii: "f"): return self.literal("false", .bool(false))
            case UInt8(ascii: "n"): return self.literal("null", .null)
            default: return self.number()
            }
        }

        mutating func object(depth: Int) -> StrictJSON? {
            guard self.take(UInt8(ascii: "{")) else { return nil }
            var fields: [String: StrictJSON] = [:]
            self.skipSpace()
            if self.take(UInt8(ascii: "}")) { return .object(fields) }
            while true {
                self.skipSpace()
                guard let name = self.string() else { return nil }
                self.skipSpace()
                guard self.take(UInt8(ascii: ":")) else { return nil }
                self.skipSpace()
                guard let value = self.value(depth: depth + 1), fields.updateValue(value, forKey: name) == nil else {
                    return nil
                }
                self.skipSpace()
                if self.take(UInt8(ascii: "}")) { return .object(fields) }
                guard self.take(UInt8(ascii: ",")) else { return nil }
            }
        }

        mutating func array(depth: Int) -> StrictJSON? {
            guard self.take(UInt8(ascii: "[")) else { return nil }
            var list: [StrictJSON] = []
            self.skipSpace()
            if self.take(UInt8(ascii: "]")) { return .array(list) }
            while true {
                self.skipSpace()
                guard let value = self.value(depth: depth + 1) else { return nil }
                list.append(value)
                self.skipSpace()
                if self.take(UInt8(ascii: "]")) { return .array(list) }
                guard self.take(UInt8(ascii: ",")) else { return nil }
            }
        }

        mutating func string() -> String? {
            guard self.take(UInt8(ascii: "\"")) else { return nil }
            var text: [UInt8] = []
            while let byte = self.current {
                self.index += 1
                switch byte {
                case UInt8(ascii: "\""): return String(validating: text, as: UTF8.self)
                case UInt8(ascii: "\\"):
                    guard let scalar = self.escape() else { return nil }
                    text.append(contentsOf: Array(String(scalar).utf8))
                case 0..<0x20: return nil
                default: text.append(byte)
                }
            }
            return nil
        }

        mutating func escape() -> Unicode.Scalar? {
            guard let byte = self.current else { return nil }
            self.index += 1
            switch byte {
            case UInt8(ascii: "\""): return "\""
            case UInt8(ascii: "\\"): return "\\"
            case UInt8(ascii: "/"): return "/"
            case UInt8(ascii: "b"): return "\u{8}"
            case UInt8(ascii: "f"): return "\u{C}"
            case UInt8(ascii: "n"): return "\n"
            case UInt8(ascii: "r"): return "\r"
            case UInt8(ascii: "t"): return "\t"
            case UInt8(ascii: "u"):
                guard let first = self.hex4() else { return nil }
                guard (0xD800...0xDBFF).contains(first) else { return Unicode.Scalar(first) }
                guard self.take(UInt8(ascii: "\\")), self.take(UInt8(ascii: "u")), let second = self.hex4(),
                    (0xDC00...0xDFFF).contains(second)
                else { return nil }
                return Unicode.Scalar(0x10000 + (first - 0xD800) << 10 + (second - 0xDC00))
            default: return nil
            }
        }

        mutating func hex4() -> UInt32? {
            var value: UInt32 = 0
            for _ in 0..<4 {
                guard let byte = self.current, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                    return nil
                }
                value = value << 4 | UInt32(digit)
                self.index += 1
            }
            return value
        }

        mutating func number() -> StrictJSON? {
            let start = self.index
            func digits(_ reader: inout Reader) -> Int {
                let first = reader.index
                while let byte = reader.current, (0x30...0x39).contains(byte) { reader.index += 1 }
                return reader.index - first
            }
            _ = self.take(UInt8(ascii: "-"))
            let leading = self.current
            let whole = digits(&self)
            guard whole > 0, whole == 1 || leading != UInt8(ascii: "0") else { return nil }
            if self.take(UInt8(ascii: ".")), digits(&self) == 0 { return nil }
            if self.take(UInt8(ascii: "e")) || self.take(UInt8(ascii: "E")) {
                if !self.take(UInt8(ascii: "+")) { _ = self.take(UInt8(ascii: "-")) }
                guard digits(&self) > 0 else { return nil }
            }
            guard self.index - start <= 64,
                let number = Double(String(decoding: self.bytes[start..<self.index], as: UTF8.self)), number.isFinite
            else { return nil }
            return .number(number)
        }
    }
}
