import Model

/// Builds the rows of a binary COPY (`FORMAT binary`): for each row ``beginRow(columns:)``, then that many values in order.
///
/// Values must have exactly the types of the columns; the server refuses the COPY otherwise. What is written goes out in
/// chunks of 64 KiB, so memory stays bounded however many rows there are.
public struct CopyRowWriter: ~Copyable {
    static let chunkSize = 65_536
    private var buffer: UnsafeMutableRawPointer
    private var capacity: Int
    private var used = 0
    private let send: (UnsafeRawBufferPointer) throws(PostgresError) -> Void
    /// Rows begun so far.
    public private(set) var rowCount = 0

    /// - Parameter startsCopy: false for rows that go on with a COPY whose header has been sent.
    init(startsCopy: Bool = true, send: @escaping (UnsafeRawBufferPointer) throws(PostgresError) -> Void) {
        self.send = send
        self.capacity = Self.chunkSize + 4_096
        self.buffer = .allocate(byteCount: self.capacity, alignment: 8)
        guard startsCopy else { return }
        // Signature, no flags, no header extension.
        for byte in [0x50, 0x47, 0x43, 0x4F, 0x50, 0x59, 0x0A, 0xFF, 0x0D, 0x0A, 0x00] as [UInt8] { self.put(byte) }
        self.put(Int32(0))
        self.put(Int32(0))
    }

    deinit { self.buffer.deallocate() }

    /// - Parameter columns: number of values that follow, 1 or more.
    @inline(__always)
    public mutating func beginRow(columns: Int16) throws(PostgresError) {
        if self.used >= Self.chunkSize { try self.flush() }
        self.put(columns)
        self.rowCount += 1
    }

    @inline(__always) public mutating func null() { self.put(Int32(-1)) }

    @inline(__always) public mutating func int16(_ value: Int16) {
        self.put(Int32(2))
        self.put(value)
    }

    @inline(__always) public mutating func int32(_ value: Int32) {
        self.put(Int32(4))
        self.put(value)
    }

    @inline(__always) public mutating func int64(_ value: Int64) {
        self.put(Int32(8))
        self.put(value)
    }

    @inline(__always) public mutating func float(_ value: Float) {
        self.put(Int32(4))
        self.put(value.bitPattern)
    }

    @inline(__always) public mutating func double(_ value: Double) {
        self.put(Int32(8))
        self.put(value.bitPattern)
    }

    @inline(__always) public mutating func bool(_ value: Bool) {
        self.put(Int32(1))
        self.put(value ? 1 : 0 as UInt8)
    }

    @inline(__always) public mutating func timestamp(_ value: Timestamp) {
        self.int64(PostgresTime.microseconds(value))
    }

    /// `text`, `varchar`; no NUL.
    public mutating func text(_ value: String) {
        var value = value
        value.withUTF8 { self.bytes(UnsafeRawBufferPointer($0)) }
    }

    public mutating func bytea(_ value: [UInt8]) { value.withUnsafeBytes { self.bytes($0) } }

    /// `jsonb`, as UTF-8 text.
    public mutating func jsonb(_ value: [UInt8]) {
        self.put(Int32(clamping: value.count + 1))
        self.put(1 as UInt8)
        value.withUnsafeBytes { self.raw($0) }
    }

    private mutating func bytes(_ value: UnsafeRawBufferPointer) {
        self.put(Int32(clamping: value.count))
        self.raw(value)
    }

    private mutating func raw(_ value: UnsafeRawBufferPointer) {
        self.reserve(value.count)
        guard let start = value.baseAddress else { return }
        self.buffer.advanced(by: self.used).copyMemory(from: start, byteCount: value.count)
        self.used += value.count
    }

    @inline(__always)
    private mutating func put<Value: FixedWidthInteger & BitwiseCopyable>(_ value: Value) {
        self.reserve(MemoryLayout<Value>.size)
        self.buffer.storeBytes(of: value.bigEndian, toByteOffset: self.used, as: Value.self)
        self.used += MemoryLayout<Value>.size
    }

    @inline(__always)
    private mutating func reserve(_ count: Int) {
        if self.used + count > self.capacity { self.grow(by: count) }
    }

    private mutating func grow(by count: Int) {
        let capacity = max(2 * self.capacity, self.used + count)
        let larger = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 8)
        larger.copyMemory(from: self.buffer, byteCount: self.used)
        self.buffer.deallocate()
        self.buffer = larger
        self.capacity = capacity
    }

    mutating func flush() throws(PostgresError) {
        guard self.used > 0 else { return }
        try self.send(UnsafeRawBufferPointer(start: self.buffer, count: self.used))
        self.used = 0
    }

    mutating func finish() throws(PostgresError) {
        self.put(Int16(-1))
        try self.flush()
    }
}
