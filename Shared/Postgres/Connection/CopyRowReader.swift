import Model

/// Reads one row of a binary COPY out, column by column; its bytes are gone when the call that handed it out returns.
public struct CopyRowReader {
    private let bytes: UnsafeRawBufferPointer
    private var offset: Int

    init(_ bytes: UnsafeRawBufferPointer, offset: Int) {
        self.bytes = bytes
        self.offset = offset
    }

    @inline(__always)
    private mutating func integer<Value: FixedWidthInteger & BitwiseCopyable>(
        _ type: Value.Type
    ) throws(PostgresError) -> Value {
        let size = MemoryLayout<Value>.size
        guard self.offset + 4 + size <= self.bytes.count,
            Int32(bigEndian: self.bytes.loadUnaligned(fromByteOffset: self.offset, as: Int32.self)) == Int32(size)
        else { throw self.mismatch("\(Value.self)") }
        let value = Value(bigEndian: self.bytes.loadUnaligned(fromByteOffset: self.offset + 4, as: Value.self))
        self.offset += 4 + size
        return value
    }

    private func mismatch(_ wanted: String) -> PostgresError {
        PostgresError(.malformedRow, detail: "COPY row at byte \(self.offset) is not \(wanted)")
    }

    @inline(__always) public mutating func int16() throws(PostgresError) -> Int16 { try self.integer(Int16.self) }
    @inline(__always) public mutating func int32() throws(PostgresError) -> Int32 { try self.integer(Int32.self) }
    @inline(__always) public mutating func int64() throws(PostgresError) -> Int64 { try self.integer(Int64.self) }

    @inline(__always) public mutating func double() throws(PostgresError) -> Double {
        Double(bitPattern: try self.integer(UInt64.self))
    }

    @inline(__always) public mutating func float() throws(PostgresError) -> Float {
        Float(bitPattern: try self.integer(UInt32.self))
    }

    @inline(__always) public mutating func timestamp() throws(PostgresError) -> Timestamp {
        PostgresTime.timestamp(try self.integer(Int64.self))
    }

    /// Skips a null and says so; leaves anything else in place.
    public mutating func skipNull() -> Bool {
        guard self.offset + 4 <= self.bytes.count,
            Int32(bigEndian: self.bytes.loadUnaligned(fromByteOffset: self.offset, as: Int32.self)) == -1
        else { return false }
        self.offset += 4
        return true
    }

    public mutating func text() throws(PostgresError) -> String {
        guard self.offset + 4 <= self.bytes.count else { throw self.mismatch("text") }
        let length = Int(Int32(bigEndian: self.bytes.loadUnaligned(fromByteOffset: self.offset, as: Int32.self)))
        guard length >= 0, self.offset + 4 + length <= self.bytes.count,
            let text = String(
                validating: UnsafeRawBufferPointer(
                    rebasing: self.bytes[(self.offset + 4)..<(self.offset + 4 + length)]),
                as: UTF8.self)
        else { throw self.mismatch("text") }
        self.offset += 4 + length
        return text
    }
}
