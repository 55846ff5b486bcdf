import Model

/// A `float8[]` column of many elements without nulls, read in one go: `[Double]` decodes each element as a value of its own.
public struct PostgresDoubles: PostgresDecodable {
    public let values: [Double]

    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> PostgresDoubles {
        PostgresDoubles(
            values: try cell.words(of: TypeOID.float8, "float8 array") { Double(bitPattern: UInt64(bitPattern: $0)) })
    }
}

/// The same of a `timestamptz[]` column, in epoch milliseconds.
public struct PostgresTimes: PostgresDecodable {
    public let milliseconds: [Int64]

    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> PostgresTimes {
        PostgresTimes(
            milliseconds: try cell.words(of: TypeOID.timestamptz, "timestamptz array") {
                PostgresTime.timestamp($0).milliseconds
            })
    }
}

extension PostgresCell {
    /// The elements of a one-dimensional array of eight-byte elements.
    @inline(__always)
    fileprivate func words<Value>(
        of element: UInt32, _ wanted: String, _ value: (Int64) -> Value
    ) throws(PostgresError) -> [Value] {
        let bytes = try self.required(wanted)
        // Dimensions, whether there are nulls, element type; then length and first index of the one dimension.
        guard bytes.count >= 12, UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt32.self)) == element
        else { throw self.mismatch(wanted) }
        if bytes.loadUnaligned(as: Int32.self) == 0 { return [] }
        guard Int32(bigEndian: bytes.loadUnaligned(as: Int32.self)) == 1, bytes.count >= 20 else {
            throw self.mismatch(wanted)
        }
        let count = Int(Int32(bigEndian: bytes.loadUnaligned(fromByteOffset: 12, as: Int32.self)))
        guard count >= 0, bytes.count == 20 + 12 * count else { throw self.mismatch(wanted) }
        var values: [Value] = []
        values.reserveCapacity(count)
        for index in 0..<count {
            let offset = 20 + 12 * index
            guard Int32(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Int32.self)) == 8 else {
                throw self.mismatch(wanted)
            }
            values.append(value(Int64(bigEndian: bytes.loadUnaligned(fromByteOffset: offset + 4, as: Int64.self))))
        }
        return values
    }
}
