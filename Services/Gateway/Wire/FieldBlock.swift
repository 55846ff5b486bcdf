import NIOCore

/// The header fields of one message as they came in: the bytes, and where each name and value lies in them.
///
/// Lines are kept as `name: value`, so a field that crosses the gateway is copied with one move and no text is made of it.
struct FieldBlock: Sendable {
    /// Offsets from the start of the block.
    struct Entry: Sendable {
        let nameStart: Int32
        let nameCount: Int32
        let valueStart: Int32
        let valueCount: Int32
        let kind: FieldKind
    }

    private var bytes: ByteBuffer
    private(set) var entries: [Entry]
    private let table: FieldTable

    init(table: FieldTable) {
        self.bytes = ByteBuffer()
        self.entries = []
        self.table = table
    }

    /// - Parameter entries: offsets from the reader index of `bytes`; between name and value stand a colon and blanks.
    init(bytes: ByteBuffer, entries: [Entry], table: FieldTable) {
        self.bytes = bytes
        self.entries = entries
        self.table = table
    }

    mutating func append(_ name: String, _ value: String) {
        let start = Int32(self.bytes.readableBytes)
        let nameCount = Int32(name.utf8.count)
        self.bytes.writeString(name)
        self.bytes.writeStaticString(": ")
        self.bytes.writeString(value)
        let kind = self.bytes.withUnsafeReadableBytes { all in
            self.table.kind(of: UnsafeRawBufferPointer(rebasing: all[Int(start)..<Int(start + nameCount)]))
        }
        self.entries.append(
            Entry(
                nameStart: start, nameCount: nameCount, valueStart: start + nameCount + 2,
                valueCount: Int32(value.utf8.count), kind: kind))
    }

    private func text(_ start: Int32, _ count: Int32) -> String {
        self.bytes.getString(at: self.bytes.readerIndex + Int(start), length: Int(count)) ?? ""
    }

    func value(_ entry: Entry) -> String { self.text(entry.valueStart, entry.valueCount) }
    /// In lower case.
    func name(_ entry: Entry) -> String { self.text(entry.nameStart, entry.nameCount).lowercased() }

    func has(_ kind: FieldKind) -> Bool { self.entries.contains { $0.kind == kind } }

    func first(_ kind: FieldKind) -> String? {
        self.entries.first { $0.kind == kind }.map(self.value)
    }

    func values(_ kind: FieldKind) -> [String] {
        var values: [String] = []
        for entry in self.entries where entry.kind == kind { values.append(self.value(entry)) }
        return values
    }

    /// Whether a value of `kind` has this word, in any case, between blanks and commas.
    /// - Parameter word: lower case.
    func hasWord(_ word: StaticString, in kind: FieldKind) -> Bool {
        guard self.has(kind) else { return false }
        return self.bytes.withUnsafeReadableBytes { all in
            self.entries.contains { entry in
                entry.kind == kind
                    && all[Int(entry.valueStart)..<Int(entry.valueStart + entry.valueCount)]
                        .split(whereSeparator: { $0 == 0x2C || $0 == 0x20 || $0 == 0x09 })
                        .contains { Self.isEqual($0, word) }
            }
        }
    }

    /// Whether every value of `kind` is one of these words, in any case.
    func isOnly(_ words: StaticString..., in kind: FieldKind) -> Bool {
        self.bytes.withUnsafeReadableBytes { all in
            self.entries.allSatisfy { entry in
                let value = all[Int(entry.valueStart)..<Int(entry.valueStart + entry.valueCount)]
                return entry.kind != kind || words.contains { Self.isEqual(value, $0) }
            }
        }
    }

    private static func isEqual(_ bytes: Slice<UnsafeRawBufferPointer>, _ word: StaticString) -> Bool {
        word.withUTF8Buffer { word in
            bytes.count == word.count
                && zip(bytes, word).allSatisfy { ((0x41...0x5A).contains($0) ? $0 | 0x20 : $0) == $1 }
        }
    }

    /// Names and values, names in lower case.
    var pairs: [(String, String)] { self.entries.map { (self.name($0), self.value($0)) } }

    /// Writes the line of `entry` with its line end.
    func writeLine(_ entry: Entry, into buffer: inout ByteBuffer) {
        let start = self.bytes.readerIndex + Int(entry.nameStart)
        let count = Int(entry.valueStart + entry.valueCount - entry.nameStart)
        self.bytes.withUnsafeReadableBytes { all in
            let from = start - self.bytes.readerIndex
            _ = buffer.writeBytes(UnsafeRawBufferPointer(rebasing: all[from..<from + count]))
        }
        buffer.writeInteger(0x0D0A as UInt16)
    }
}

extension ByteBuffer {
    /// `name: value` and a line end. The caller vouches that `value` has no control characters.
    mutating func writeField(_ name: StaticString, _ value: String) {
        self.writeStaticString(name)
        self.writeStaticString(": ")
        self.writeString(value)
        self.writeInteger(0x0D0A as UInt16)
    }

    mutating func writeField(_ name: StaticString, _ number: Int) {
        self.writeStaticString(name)
        self.writeStaticString(": ")
        self.writeDecimal(number)
        self.writeInteger(0x0D0A as UInt16)
    }

    /// Decimal digits, without making a text of them.
    mutating func writeDecimal(_ number: Int) {
        if number < 0 { self.writeInteger(0x2D as UInt8) }
        var rest = number.magnitude
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 20) { digits in
            var index = 20
            repeat {
                index -= 1
                digits[index] = 0x30 + UInt8(truncatingIfNeeded: rest % 10)
                rest /= 10
            } while rest > 0
            _ = self.writeBytes(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(digits)[index...]))
        }
    }

    /// Sixteen lower-case hexadecimal digits.
    mutating func writeHex(_ value: UInt64) {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 16) { digits in
            for index in 0..<16 {
                let nibble = UInt8(truncatingIfNeeded: value >> UInt64(60 - 4 * index)) & 0xF
                digits[index] = nibble < 10 ? 0x30 + nibble : 0x57 + nibble
            }
            _ = self.writeBytes(UnsafeRawBufferPointer(digits))
        }
    }
}
