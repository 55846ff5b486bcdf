/// The parameters of one statement in wire form: one buffer, and per parameter its type, start and length.
struct EncodedParameters {
    var types: [UInt32] = []
    /// -1: null.
    var lengths: [Int32] = []
    var starts: [Int] = []
    var bytes: [UInt8] = []

    init(_ values: [PostgresValue]) {
        self.types.reserveCapacity(values.count)
        self.lengths.reserveCapacity(values.count)
        self.starts.reserveCapacity(values.count)
        for value in values {
            let start = self.bytes.count
            self.starts.append(start)
            let type = self.append(value)
            self.types.append(type)
            self.lengths.append(type == 0 ? -1 : Int32(clamping: self.bytes.count - start))
        }
        // A pointer must be there even when every value is empty: libpq takes a nil pointer for null.
        self.bytes.append(0)
    }

    /// - Returns: the type's object id, 0 for null.
    private mutating func append(_ value: PostgresValue) -> UInt32 {
        switch value {
        case .null: return 0
        case .bool(let value): self.bytes.append(value ? 1 : 0)
        case .int16(let value): self.bytes.appendBigEndian(value)
        case .int32(let value): self.bytes.appendBigEndian(value)
        case .int64(let value): self.bytes.appendBigEndian(value)
        case .float(let value): self.bytes.appendBigEndian(value.bitPattern)
        case .double(let value): self.bytes.appendBigEndian(value.bitPattern)
        case .text(let value): self.bytes.append(contentsOf: value.utf8)
        case .bytea(let value): self.bytes.append(contentsOf: value)
        case .timestamp(let value): self.bytes.appendBigEndian(PostgresTime.microseconds(value))
        case .jsonb(let value):
            self.bytes.append(1)
            self.bytes.append(contentsOf: value)
        default: self.appendArray(value)
        }
        return value.typeOID
    }

    private mutating func appendArray(_ value: PostgresValue) {
        switch value {
        case .int16Array(let values): self.array(values, TypeOID.int2) { $1.appendBigEndian($0) }
        case .int32Array(let values): self.array(values, TypeOID.int4) { $1.appendBigEndian($0) }
        case .int64Array(let values): self.array(values, TypeOID.int8) { $1.appendBigEndian($0) }
        case .floatArray(let values): self.array(values, TypeOID.float4) { $1.appendBigEndian($0.bitPattern) }
        case .doubleArray(let values): self.array(values, TypeOID.float8) { $1.appendBigEndian($0.bitPattern) }
        case .boolArray(let values): self.array(values, TypeOID.bool) { $1.append($0 ? 1 : 0) }
        case .textArray(let values): self.array(values, TypeOID.text) { $1.append(contentsOf: $0.utf8) }
        case .byteaArray(let values): self.array(values, TypeOID.bytea) { $1.append(contentsOf: $0) }
        case .timestampArray(let values):
            self.array(values, TypeOID.timestamptz) { $1.appendBigEndian(PostgresTime.microseconds($0)) }
        case .optionalInt16Array(let values): self.array(values, TypeOID.int2) { $1.appendBigEndian($0) }
        case .optionalInt64Array(let values): self.array(values, TypeOID.int8) { $1.appendBigEndian($0) }
        case .optionalDoubleArray(let values):
            self.array(values, TypeOID.float8) { $1.appendBigEndian($0.bitPattern) }
        case .optionalTextArray(let values): self.array(values, TypeOID.text) { $1.append(contentsOf: $0.utf8) }
        case .optionalTimestampArray(let values):
            self.array(values, TypeOID.timestamptz) { $1.appendBigEndian(PostgresTime.microseconds($0)) }
        default: preconditionFailure("scalars are encoded before arrays")
        }
    }

    /// One dimension, lower bound 1 (`array_send` in PostgreSQL's arrayfuncs.c).
    private mutating func array<Element>(
        _ values: [Element?], _ elementType: UInt32, _ append: (Element, inout [UInt8]) -> Void
    ) {
        self.bytes.appendBigEndian(Int32(values.isEmpty ? 0 : 1))
        self.bytes.appendBigEndian(Int32(values.contains { $0 == nil } ? 1 : 0))
        self.bytes.appendBigEndian(elementType)
        guard !values.isEmpty else { return }
        self.bytes.appendBigEndian(Int32(clamping: values.count))
        self.bytes.appendBigEndian(Int32(1))
        for value in values { self.element(value, append) }
    }

    private mutating func array<Element>(
        _ values: [Element], _ elementType: UInt32, _ append: (Element, inout [UInt8]) -> Void
    ) {
        self.bytes.appendBigEndian(Int32(values.isEmpty ? 0 : 1))
        self.bytes.appendBigEndian(Int32(0))
        self.bytes.appendBigEndian(elementType)
        guard !values.isEmpty else { return }
        self.bytes.appendBigEndian(Int32(clamping: values.count))
        self.bytes.appendBigEndian(Int32(1))
        for value in values { self.element(value, append) }
    }

    private mutating func element<Element>(_ value: Element?, _ append: (Element, inout [UInt8]) -> Void) {
        guard let value else {
            self.bytes.appendBigEndian(Int32(-1))
            return
        }
        let lengthAt = self.bytes.count
        self.bytes.appendBigEndian(Int32(0))
        append(value, &self.bytes)
        let length = UInt32(truncatingIfNeeded: self.bytes.count - lengthAt - 4)
        self.bytes[lengthAt] = UInt8(truncatingIfNeeded: length >> 24)
        self.bytes[lengthAt + 1] = UInt8(truncatingIfNeeded: length >> 16)
        self.bytes[lengthAt + 2] = UInt8(truncatingIfNeeded: length >> 8)
        self.bytes[lengthAt + 3] = UInt8(truncatingIfNeeded: length)
    }
}

extension PostgresValue {
    /// The type's object id, 0 for null.
    var typeOID: UInt32 {
        switch self {
        case .null: 0
        case .bool: TypeOID.bool
        case .int16: TypeOID.int2
        case .int32: TypeOID.int4
        case .int64: TypeOID.int8
        case .float: TypeOID.float4
        case .double: TypeOID.float8
        case .text: TypeOID.text
        case .bytea: TypeOID.bytea
        case .timestamp: TypeOID.timestamptz
        case .jsonb: TypeOID.jsonb
        case .int16Array, .optionalInt16Array: TypeOID.int2Array
        case .int32Array: TypeOID.int4Array
        case .int64Array, .optionalInt64Array: TypeOID.int8Array
        case .floatArray: TypeOID.float4Array
        case .doubleArray, .optionalDoubleArray: TypeOID.float8Array
        case .boolArray: TypeOID.boolArray
        case .textArray, .optionalTextArray: TypeOID.textArray
        case .byteaArray: TypeOID.byteaArray
        case .timestampArray, .optionalTimestampArray: TypeOID.timestamptzArray
        }
    }
}

extension [UInt8] {
    mutating func appendBigEndian(_ value: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: value.bigEndian) { self.append(contentsOf: $0) }
    }
}
