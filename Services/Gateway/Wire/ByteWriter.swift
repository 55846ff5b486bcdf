import NIOCore

/// Writes short pieces one behind the other into memory that was made for all of them, so that each costs a comparison and a
/// move, not a buffer's bookkeeping. What does not fit goes to a list of its own and is added behind: room is a guess that
/// must usually hold, not a bound that must be proven.
struct ByteWriter {
    private var next: UnsafeMutableRawPointer
    private var left: Int
    private var rest: [UInt8] = []

    fileprivate init(_ memory: UnsafeMutableRawBufferPointer, at start: UnsafeMutableRawPointer) {
        self.next = start
        self.left = memory.count
    }

    fileprivate func written(since start: UnsafeMutableRawPointer) -> Int { self.next - start }
    fileprivate var overflow: [UInt8] { self.rest }

    mutating func write(_ bytes: UnsafeRawBufferPointer) {
        guard let from = bytes.baseAddress, bytes.count > 0 else { return }
        guard bytes.count <= self.left else {
            // Whatever follows goes behind it.
            self.left = 0
            self.rest.append(contentsOf: bytes)
            return
        }
        self.next.copyMemory(from: from, byteCount: bytes.count)
        self.next += bytes.count
        self.left -= bytes.count
    }

    mutating func write(_ text: StaticString) {
        self.write(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    mutating func write(_ text: String) {
        let isWritten: Void? = text.utf8.withContiguousStorageIfAvailable { self.write(UnsafeRawBufferPointer($0)) }
        if isWritten == nil { for byte in text.utf8 { self.write(byte) } }
    }

    mutating func write(_ byte: UInt8) {
        guard self.left > 0 else {
            self.rest.append(byte)
            return
        }
        self.next.storeBytes(of: byte, as: UInt8.self)
        self.next += 1
        self.left -= 1
    }

    mutating func writeLineEnd() {
        self.write(0x0D as UInt8)
        self.write(0x0A as UInt8)
    }

    /// Decimal digits.
    mutating func write(decimal number: Int) {
        if number < 0 { self.write(0x2D as UInt8) }
        var rest = number.magnitude
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 20) { digits in
            var index = 20
            repeat {
                index -= 1
                digits[index] = 0x30 + UInt8(truncatingIfNeeded: rest % 10)
                rest /= 10
            } while rest > 0
            self.write(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(digits)[index...]))
        }
    }

    /// Sixteen lower-case hexadecimal digits.
    mutating func write(hex value: UInt64) {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 16) { digits in
            for index in 0..<16 {
                let nibble = UInt8(truncatingIfNeeded: value >> UInt64(60 - 4 * index)) & 0xF
                digits[index] = nibble < 10 ? 0x30 + nibble : 0x57 + nibble
            }
            self.write(UnsafeRawBufferPointer(digits))
        }
    }

    /// `name: value` and a line end. The caller vouches that `value` has no control characters.
    mutating func writeField(_ name: StaticString, _ value: String) {
        self.write(name)
        self.write(": ")
        self.write(value)
        self.writeLineEnd()
    }

    mutating func writeField(_ name: StaticString, _ number: Int) {
        self.write(name)
        self.write(": ")
        self.write(decimal: number)
        self.writeLineEnd()
    }

    /// The inside of a JSON text.
    mutating func write(escaped text: String) {
        guard text.utf8.contains(where: { $0 < 0x20 || $0 == 0x22 || $0 == 0x5C }) else {
            self.write(text)
            return
        }
        for byte in text.utf8 {
            switch byte {
            case 0x22, 0x5C:
                self.write(0x5C as UInt8)
                self.write(byte)
            case 0..<0x20:
                self.write("\\u00")
                self.write((byte < 16 ? "0" : "") + String(byte, radix: 16))
            default: self.write(byte)
            }
        }
    }
}

extension ByteBuffer {
    /// Adds what `body` writes.
    /// - Parameter room: about how many bytes that will be.
    mutating func write(room: Int, _ body: (inout ByteWriter) -> Void) {
        var overflow: [UInt8] = []
        self.writeWithUnsafeMutableBytes(minimumWritableBytes: room) { memory in
            guard let start = memory.baseAddress else { return 0 }
            var writer = ByteWriter(memory, at: start)
            body(&writer)
            overflow = writer.overflow
            return writer.written(since: start)
        }
        if !overflow.isEmpty { self.writeBytes(overflow) }
    }
}
