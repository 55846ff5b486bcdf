import Glibc
import NIOCore

/// Takes the head of an HTTP/1 message apart: strict, so that no other reader could see another message in it (RFC 9112).
///
/// Lines end in CR LF and nothing else; there is no folding; names are tokens directly followed by the colon.
enum HeadLines {
    /// Fields of one message, at most.
    static let countLimit = 128

    enum End: Hashable, Sendable {
        /// The number of bytes up to and including the empty line that ends the head.
        case at(Int)
        case notYet
        /// A line feed stands alone.
        case never
    }

    /// - Parameter scanned: bytes that were looked at before in vain; moved forward.
    static func end(_ bytes: UnsafeRawBufferPointer, scanned: inout Int) -> End {
        var index = scanned
        while index < bytes.count, let base = bytes.baseAddress,
            let feed = memchr(base + index, 0x0A, bytes.count - index)
        {
            index = UnsafeRawPointer(feed) - base
            guard index > 0, bytes[index - 1] == 0x0D else { return .never }
            if index >= 3, bytes[index - 2] == 0x0A, bytes[index - 3] == 0x0D { return .at(index + 1) }
            index += 1
        }
        scanned = bytes.count
        return .notYet
    }

    /// The entries of the lines from `start` to the empty line.
    static func entries(
        _ bytes: UnsafeRawBufferPointer, from start: Int, table: FieldTable
    ) throws(HeadRefusal) -> [FieldBlock.Entry] {
        var entries: [FieldBlock.Entry] = []
        entries.reserveCapacity(16)
        var index = start
        // The head ends in CR LF CR LF, and every loop below stops at a CR: none runs past the end.
        while index < bytes.count - 2 {
            let nameStart = index
            while HTTPBytes.isToken(bytes[index]) { index += 1 }
            guard index > nameStart, bytes[index] == 0x3A else { throw .malformed("a field name is no token") }
            let nameEnd = index
            index += 1
            while bytes[index] == 0x20 || bytes[index] == 0x09 { index += 1 }
            let valueStart = index
            index = HTTPBytes.valueEnd(bytes, from: index)
            guard index + 1 < bytes.count, bytes[index] == 0x0D, bytes[index + 1] == 0x0A else {
                throw .malformed("a field value has a control character")
            }
            var valueEnd = index
            while valueEnd > valueStart, bytes[valueEnd - 1] == 0x20 || bytes[valueEnd - 1] == 0x09 { valueEnd -= 1 }
            guard entries.count < Self.countLimit else { throw .tooLarge }
            let kind = table.kind(of: UnsafeRawBufferPointer(rebasing: bytes[nameStart..<nameEnd]))
            entries.append(
                FieldBlock.Entry(
                    nameStart: Int32(nameStart), nameCount: Int32(nameEnd - nameStart),
                    valueStart: Int32(valueStart), valueCount: Int32(valueEnd - valueStart), kind: kind))
            index += 2
        }
        return entries
    }
}
