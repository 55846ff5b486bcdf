import Glibc
import Model

/// Cuts a body that arrives in pieces into items: the lines of NDJSON, or the elements of one JSON array.
///
/// Items that lie inside one piece are handed out in place; only one that spans pieces is copied, and no item may be longer
/// than ``itemLimit``, so memory stays bounded for a body of any length.
struct BodyScanner {
    /// Bytes. Four names of 128 characters, all escaped, take 6 KiB.
    static let itemLimit = 16_384

    enum Format: Hashable, Sendable { case lines, array }

    /// An item, or what to say about one that was too long to look at.
    enum Piece {
        case item(UnsafeBufferPointer<UInt8>)
        case tooLong
    }

    private enum ArrayState {
        case beforeArray, beforeFirst, beforeItem, inItem, afterItem, afterArray
    }

    let format: Format
    private var carry: [UInt8] = []
    /// The current item is already too long; its rest is dropped.
    private var isDropping = false
    private(set) var line = 0
    private var state = ArrayState.beforeArray
    private var depth = 0
    private var isInString = false
    private var isEscaped = false

    init(format: Format) { self.format = format }

    /// Takes the next piece of the body.
    ///
    /// - Parameter take: gets each complete item with its line, and returns whether to go on.
    /// - Returns: bytes used; fewer than given only when `take` wanted to stop, and the rest is to be given again.
    /// - Throws: a `malformed-body` problem when an array is none.
    mutating func feed(
        _ bytes: UnsafeBufferPointer<UInt8>, _ take: (Piece, Int) throws(Problem) -> Bool
    ) throws(Problem) -> Int {
        switch self.format {
        case .lines: try self.feedLines(bytes, take)
        case .array: try self.feedArray(bytes, take)
        }
    }

    /// The body is complete: hands out a last line without a line feed.
    mutating func finish(_ take: (Piece, Int) throws(Problem) -> Bool) throws(Problem) {
        switch self.format {
        case .lines:
            guard !self.carry.isEmpty || self.isDropping else { return }
            self.line += 1
            _ = try self.emit(nil, take)
        case .array:
            guard self.state == .afterArray else {
                throw Problem(.malformedBody, detail: "The JSON array does not end.")
            }
        }
    }

    private mutating func feedLines(
        _ bytes: UnsafeBufferPointer<UInt8>, _ take: (Piece, Int) throws(Problem) -> Bool
    ) throws(Problem) -> Int {
        guard let base = bytes.baseAddress else { return 0 }
        var start = 0
        while start < bytes.count {
            guard let found = memchr(base + start, 0x0A, bytes.count - start) else {
                self.keep(UnsafeBufferPointer(rebasing: bytes[start...]))
                return bytes.count
            }
            let end = UnsafeRawPointer(found) - UnsafeRawPointer(base)
            self.line += 1
            let goesOn = try self.emit(UnsafeBufferPointer(rebasing: bytes[start..<end]), take)
            start = end + 1
            if !goesOn { return start }
        }
        return bytes.count
    }

    /// Remembers the part of an item that came with this piece.
    private mutating func keep(_ part: UnsafeBufferPointer<UInt8>) {
        guard !self.isDropping else { return }
        guard self.carry.count + part.count <= Self.itemLimit else {
            self.carry.removeAll(keepingCapacity: true)
            self.isDropping = true
            return
        }
        self.carry.append(contentsOf: part)
    }

    /// Hands out the item that ends with `last`; blank ones are passed over.
    private mutating func emit(
        _ last: UnsafeBufferPointer<UInt8>?, _ take: (Piece, Int) throws(Problem) -> Bool
    ) throws(Problem) -> Bool {
        defer {
            self.carry.removeAll(keepingCapacity: true)
            self.isDropping = false
        }
        if self.carry.isEmpty, !self.isDropping, let last {
            guard last.count <= Self.itemLimit else { return try take(.tooLong, self.line) }
            return Self.isBlank(last) ? true : try take(.item(last), self.line)
        }
        if let last { self.keep(last) }
        if self.isDropping { return try take(.tooLong, self.line) }
        let line = self.line
        let outcome: Result<Bool, Problem> = self.carry.withUnsafeBufferPointer { item in
            guard !Self.isBlank(item) else { return .success(true) }
            do throws(Problem) { return .success(try take(.item(item), line)) } catch { return .failure(error) }
        }
        return try outcome.get()
    }

    private static func isBlank(_ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
        guard let first = bytes.first else { return true }
        if first == 0x7B { return false }
        return bytes.allSatisfy { $0 == 0x20 || $0 == 0x0D || $0 == 0x09 }
    }

    private mutating func feedArray(
        _ bytes: UnsafeBufferPointer<UInt8>, _ take: (Piece, Int) throws(Problem) -> Bool
    ) throws(Problem) -> Int {
        var start = 0
        var index = 0
        while index < bytes.count {
            let byte = bytes[index]
            if self.state == .inItem {
                // A scalar ends before the comma or bracket that follows it.
                let isAfter = self.depth == 0 && !self.isInString && (byte == 0x2C || byte == 0x5D)
                if !isAfter {
                    try self.advance(byte)
                    index += 1
                    guard self.depth == 0, !self.isInString, byte == 0x7D else { continue }
                }
                self.state = .afterItem
                self.line += 1
                let goesOn = try self.emit(UnsafeBufferPointer(rebasing: bytes[start..<index]), take)
                if !goesOn { return index }
                continue
            }
            if try self.between(byte) {
                start = index
            } else {
                index += 1
            }
        }
        if self.state == .inItem { self.keep(UnsafeBufferPointer(rebasing: bytes[start...])) }
        return bytes.count
    }

    /// Follows strings and nesting inside an item; the item itself is checked when it is complete.
    private mutating func advance(_ byte: UInt8) throws(Problem) {
        if self.isInString {
            if self.isEscaped {
                self.isEscaped = false
            } else if byte == 0x5C {
                self.isEscaped = true
            } else if byte == 0x22 {
                self.isInString = false
            }
            return
        }
        switch byte {
        case 0x22: self.isInString = true
        case 0x7B, 0x5B:
            self.depth += 1
            guard self.depth <= JSONCursor.depthLimit else {
                throw Problem(
                    .malformedBody, detail: "The body is nested deeper than \(JSONCursor.depthLimit) levels.")
            }
        case 0x7D, 0x5D: self.depth -= 1
        default: break
        }
    }

    /// Reads what stands between items.
    /// - Returns: whether an item begins at this byte.
    private mutating func between(_ byte: UInt8) throws(Problem) -> Bool {
        if byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { return false }
        switch (self.state, byte) {
        case (.beforeArray, 0x5B): self.state = .beforeFirst
        case (.beforeFirst, 0x5D), (.afterItem, 0x5D): self.state = .afterArray
        case (.afterItem, 0x2C): self.state = .beforeItem
        case (.beforeFirst, _), (.beforeItem, _):
            guard byte != 0x2C, byte != 0x5D, byte != 0x7D else {
                throw Problem(.malformedBody, detail: "Item \(self.line + 1) of the JSON array is missing.")
            }
            self.state = .inItem
            self.depth = 0
            return true
        case (.beforeArray, _):
            throw Problem(
                .malformedBody,
                detail: "The body must be a JSON array, or NDJSON with the content type application/x-ndjson.")
        case (.afterArray, _): throw Problem(.malformedBody, detail: "Something follows the JSON array.")
        default: throw Problem(.malformedBody, detail: "A comma is missing after item \(self.line) of the JSON array.")
        }
        return false
    }
}
