import Model

/// Why one item was refused: for the caller, by line.
struct ItemVerdict: Error, Hashable, Sendable, Codable {
    /// Line of NDJSON or number of the array's item, from 1.
    var line: Int
    /// The field at fault; absent when the item as a whole cannot be read.
    var field: String?
    var detail: String
}

/// Reads one observation `{domain, event, market, venue, time | ts, value}` from its JSON text. Other members are ignored.
enum ObservationParser {
    /// One item: where its names stand, and its numbers.
    struct Item {
        var domain = JSONCursor.Text()
        var event = JSONCursor.Text()
        var market = JSONCursor.Text()
        var venue = JSONCursor.Text()
        var timeMs: Int64 = 0
        var value: Double = 0
    }

    /// Which members have come, one bit each.
    private struct Seen {
        static let all: UInt8 = 0b11_1111
        var bits: UInt8 = 0
    }

    private static let names = ["domain", "event", "market", "venue", "time", "value"]

    /// Reads `bytes`.
    ///
    /// - Parameter scratch: memory for names with escapes; comes back as the cursor's `unescaped`.
    /// - Throws: ``ItemVerdict`` with line 0; the caller knows the line.
    static func parse(
        _ bytes: UnsafeBufferPointer<UInt8>, scratch: consuming [UInt8]
    ) throws(ItemVerdict) -> (Item, JSONCursor) {
        var cursor = JSONCursor(bytes, scratch: scratch)
        let item = try Self.item(&cursor)
        return (item, cursor)
    }

    private static func fault(_ fault: JSONFault) -> ItemVerdict {
        ItemVerdict(line: 0, field: nil, detail: "not a JSON object: \(fault.detail)")
    }

    private static func item(_ cursor: inout JSONCursor) throws(ItemVerdict) -> Item {
        var item = Item()
        var seen = Seen()
        do throws(JSONFault) {
            try cursor.expect(0x7B, "an item must be an object")
            if cursor.peek() == 0x7D {
                cursor.position += 1
            } else {
                var next: UInt8 = 0x2C
                while next == 0x2C {
                    guard cursor.peek() == 0x22 else { throw JSONFault("a member's name is missing") }
                    let name = try cursor.text()
                    try cursor.expect(0x3A, "a colon is missing")
                    try Self.member(name, &cursor, &item, &seen)
                    guard let byte = cursor.peek() else { throw JSONFault("the text ends too early") }
                    next = byte
                    cursor.position += 1
                }
                guard next == 0x7D else { throw JSONFault("a comma is missing") }
            }
            guard cursor.peek() == nil else { throw JSONFault("something follows the object") }
        } catch {
            throw Self.verdict(error)
        }
        if seen.bits != Seen.all {
            let missing = Self.names.indices.first { seen.bits & 1 << $0 == 0 } ?? 0
            throw ItemVerdict(line: 0, field: Self.names[missing], detail: "is missing")
        }
        return item
    }

    /// Faults about one field carry its name before a tab.
    private static func verdict(_ fault: JSONFault) -> ItemVerdict {
        guard let tab = fault.detail.firstIndex(of: "\t") else { return Self.fault(fault) }
        return ItemVerdict(
            line: 0, field: String(fault.detail[..<tab]),
            detail: String(fault.detail[fault.detail.index(after: tab)...]))
    }

    /// Number of the member with that name, -1 for one we do not know.
    private static func index(_ bytes: UnsafeBufferPointer<UInt8>) -> Int {
        func isEqual(_ word: StaticString) -> Bool {
            guard bytes.count == word.utf8CodeUnitCount else { return false }
            for offset in 0..<bytes.count where bytes[offset] != word.utf8Start[offset] { return false }
            return true
        }
        guard let first = bytes.first else { return -1 }
        switch first {
        case 0x64: return isEqual("domain") ? 0 : -1
        case 0x65: return isEqual("event") ? 1 : -1
        case 0x6D: return isEqual("market") ? 2 : -1
        case 0x76: return isEqual("venue") ? 3 : (isEqual("value") ? 5 : -1)
        case 0x74: return isEqual("time") || isEqual("ts") ? 4 : -1
        default: return -1
        }
    }

    private static func member(
        _ name: JSONCursor.Text, _ cursor: inout JSONCursor, _ item: inout Item, _ seen: inout Seen
    ) throws(JSONFault) {
        let index = cursor.withBytes(name, Self.index)
        guard index >= 0 else {
            try cursor.skipValue(depth: 1)
            return
        }
        guard seen.bits & 1 << index == 0 else { throw JSONFault("\(Self.names[index])\tappears twice") }
        seen.bits |= 1 << index
        switch index {
        case 0: item.domain = try Self.name(&cursor, index)
        case 1: item.event = try Self.name(&cursor, index)
        case 2: item.market = try Self.name(&cursor, index)
        case 3: item.venue = try Self.name(&cursor, index)
        case 4: item.timeMs = try Self.time(&cursor)
        default: item.value = try Self.value(&cursor)
        }
    }

    private static func name(_ cursor: inout JSONCursor, _ index: Int) throws(JSONFault) -> JSONCursor.Text {
        guard cursor.peek() == 0x22 else { throw JSONFault("\(Self.names[index])\tmust be a string") }
        return try cursor.text()
    }

    private static func time(_ cursor: inout JSONCursor) throws(JSONFault) -> Int64 {
        let rule = "time\tmust be whole epoch milliseconds or an RFC 3339 date-time"
        switch cursor.peek() {
        case 0x22:
            let text = try cursor.text()
            guard text.count <= 40, let time = Timestamp(rfc3339: cursor.string(text)) else { throw JSONFault(rule) }
            return time.milliseconds
        case 0x2D, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39:
            guard let milliseconds = try cursor.number().integer else { throw JSONFault(rule) }
            return milliseconds
        default: throw JSONFault(rule)
        }
    }

    private static func value(_ cursor: inout JSONCursor) throws(JSONFault) -> Double {
        switch cursor.peek() {
        case 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39: return cursor.double(try cursor.number())
        case 0x2D:
            // -Infinity is a number to some programs; say what is wrong with it instead of "not JSON".
            if cursor.position + 1 < cursor.bytes.count, cursor.bytes[cursor.position + 1] | 0x20 == 0x69 { break }
            return cursor.double(try cursor.number())
        case 0x4E, 0x49: break
        case nil: throw JSONFault("the text ends too early")
        default: throw JSONFault("value\tmust be a number")
        }
        throw JSONFault("value\tmust be a finite number: NaN and Infinity are not JSON")
    }
}
