import Model

/// Element types of which one-dimensional arrays can be read.
public protocol PostgresArrayElement: PostgresDecodable {}

extension Int: PostgresArrayElement {}
extension Int64: PostgresArrayElement {}
extension Int32: PostgresArrayElement {}
extension Int16: PostgresArrayElement {}
extension Double: PostgresArrayElement {}
extension Float: PostgresArrayElement {}
extension Bool: PostgresArrayElement {}
extension String: PostgresArrayElement {}
extension Timestamp: PostgresArrayElement {}
extension NodeID: PostgresArrayElement {}
extension Optional: PostgresArrayElement where Wrapped: PostgresArrayElement {}

/// `UInt8` is no array element: `[UInt8]` is a `bytea`.
extension UInt8: PostgresDecodable {
    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> UInt8 { throw cell.mismatch("UInt8") }
}

extension Array: PostgresDecodable where Element: PostgresDecodable {
    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> [Element] {
        let bytes = try cell.required("array")
        if Element.self == UInt8.self {
            guard cell.type == TypeOID.bytea, let raw = [UInt8](bytes) as? [Element] else {
                throw cell.mismatch("bytea")
            }
            return raw
        }
        return try Self.elements(of: bytes, cell: cell)
    }

    private static func elements(of bytes: UnsafeRawBufferPointer, cell: PostgresCell) throws(PostgresError)
        -> [Element]
    {
        func int32(at offset: Int) -> Int32 {
            Int32(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Int32.self))
        }
        guard bytes.count >= 12 else { throw cell.mismatch("array") }
        let dimensions = int32(at: 0)
        let elementType = UInt32(bitPattern: int32(at: 8))
        if dimensions == 0 { return [] }
        guard dimensions == 1, bytes.count >= 20 else { throw cell.mismatch("one-dimensional array") }
        let count = Int(int32(at: 12))
        var result: [Element] = []
        result.reserveCapacity(Swift.min(count, bytes.count / 4))
        var offset = 20
        for _ in 0..<count {
            guard offset + 4 <= bytes.count else { throw cell.mismatch("array") }
            let length = Int(int32(at: offset))
            offset += 4
            guard length <= bytes.count - offset else { throw cell.mismatch("array") }
            let element =
                length < 0 ? nil : UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + length])
            result.append(
                try Element.decode(PostgresCell(type: elementType, bytes: element, columnName: cell.columnName)))
            offset += Swift.max(0, length)
        }
        return result
    }
}
