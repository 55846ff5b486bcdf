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

    func has(_ kind: FieldKind) -> Bool {
        for entry in self.entries where entry.kind == kind { return true }
        return false
    }

    func first(_ kind: FieldKind) -> String? {
        for entry in self.entries where entry.kind == kind { return self.value(entry) }
        return nil
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
            for entry in self.entries where entry.kind == kind {
                let end = Int(entry.valueStart + entry.valueCount)
                var start = Int(entry.valueStart)
                for index in start...end where index == end || Self.separates(all[index]) {
                    if Self.isEqual(UnsafeRawBufferPointer(rebasing: all[start..<index]), word) { return true }
                    start = index + 1
                }
            }
            return false
        }
    }

    private static func separates(_ byte: UInt8) -> Bool { byte == 0x2C || byte == 0x20 || byte == 0x09 }

    /// Whether every value of `kind` is one of these words, in any case.
    func isOnly(_ words: StaticString..., in kind: FieldKind) -> Bool {
        self.bytes.withUnsafeReadableBytes { all in
            self.entries.allSatisfy { entry in
                guard entry.kind == kind else { return true }
                let value = UnsafeRawBufferPointer(
                    rebasing: all[Int(entry.valueStart)..<Int(entry.valueStart + entry.valueCount)])
                return words.contains { Self.isEqual(value, $0) }
            }
        }
    }

    private static func isEqual(_ bytes: UnsafeRawBufferPointer, _ word: StaticString) -> Bool {
        guard bytes.count == word.utf8CodeUnitCount else { return false }
        for index in 0..<bytes.count {
            let byte = bytes[index]
            guard ((0x41...0x5A).contains(byte) ? byte | 0x20 : byte) == word.utf8Start[index] else { return false }
        }
        return true
    }

    /// How many fields are of `kind`.
    func count(_ kind: FieldKind) -> Int {
        var count = 0
        for entry in self.entries where entry.kind == kind { count += 1 }
        return count
    }

    /// The bytes of the first value of `kind`.
    func withFirst<Result>(_ kind: FieldKind, _ body: (UnsafeRawBufferPointer) -> Result) -> Result? {
        for entry in self.entries where entry.kind == kind {
            return self.bytes.withUnsafeReadableBytes { all in
                body(
                    UnsafeRawBufferPointer(
                        rebasing: all[Int(entry.valueStart)..<Int(entry.valueStart + entry.valueCount)]))
            }
        }
        return nil
    }

    /// Names and values, names in lower case.
    var pairs: [(String, String)] { self.entries.map { (self.name($0), self.value($0)) } }

    /// All bytes of the fields: about what their lines take.
    var byteCount: Int { self.bytes.readableBytes }

    /// Writes the lines of `entries` with their line ends.
    func writeLines(_ entries: [Entry], into writer: inout ByteWriter) {
        self.bytes.withUnsafeReadableBytes { all in
            for entry in entries {
                let end = Int(entry.valueStart + entry.valueCount)
                writer.write(UnsafeRawBufferPointer(rebasing: all[Int(entry.nameStart)..<end]))
                writer.writeLineEnd()
            }
        }
    }
}

extension ByteBuffer {
    /// `name: value` and a line end. The caller vouches that `value` has no control characters.
    mutating func writeField(_ name: StaticString, _ value: String) {
        self.write(room: name.utf8CodeUnitCount + value.utf8.count + 4) { $0.writeField(name, value) }
    }

    mutating func writeField(_ name: StaticString, _ number: Int) {
        self.write(room: name.utf8CodeUnitCount + 24) { $0.writeField(name, number) }
    }

    /// Decimal digits, without making a text of them.
    mutating func writeDecimal(_ number: Int) { self.write(room: 20) { $0.write(decimal: number) } }
}
