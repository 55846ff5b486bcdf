import Foundation
import Model

/// A Swift type that can be read from a binary column.
public protocol PostgresDecodable: Sendable {
    /// - Parameter cell: the column's type and bytes; never null except for optionals.
    static func decode(_ cell: PostgresCell) throws(PostgresError) -> Self
}

/// One column of one row. Its bytes belong to the result and must not outlive the call that hands it out.
public struct PostgresCell {
    let type: UInt32
    /// nil: SQL null.
    let bytes: UnsafeRawBufferPointer?
    /// C text owned by the result; turned into a String only for an error.
    let columnName: UnsafePointer<CChar>?

    var column: String { self.columnName.map { String(cString: $0) } ?? "?" }

    func mismatch(_ wanted: String) -> PostgresError {
        PostgresError(
            .malformedRow,
            detail: "column \(self.column): type \(self.type), \(self.bytes?.count ?? -1) bytes, is not \(wanted)")
    }

    func required(_ wanted: String) throws(PostgresError) -> UnsafeRawBufferPointer {
        guard let bytes else { throw PostgresError(.malformedRow, detail: "column \(self.column) is null") }
        return bytes
    }

    func integer<Value: FixedWidthInteger>(_ type: Value.Type) throws(PostgresError) -> Value {
        let bytes = try self.required("\(Value.self)")
        guard bytes.count == MemoryLayout<Value>.size else { throw self.mismatch("\(Value.self)") }
        return Value(bigEndian: bytes.loadUnaligned(as: Value.self))
    }

    /// Any whole number type of the server, as long as the value fits.
    func wholeNumber<Value: FixedWidthInteger>(_ wanted: Value.Type) throws(PostgresError) -> Value {
        let wide: Int64
        switch self.type {
        case TypeOID.int2: wide = Int64(try self.integer(Int16.self))
        case TypeOID.int4: wide = Int64(try self.integer(Int32.self))
        case TypeOID.int8: wide = try self.integer(Int64.self)
        case TypeOID.oid, TypeOID.xid: wide = Int64(try self.integer(UInt32.self))
        case TypeOID.xid8: wide = Int64(bitPattern: try self.integer(UInt64.self))
        default: throw self.mismatch("\(Value.self)")
        }
        guard let value = Value(exactly: wide) else { throw self.mismatch("\(Value.self)") }
        return value
    }
}

extension Int: PostgresDecodable {
    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> Int { try cell.wholeNumber(Int.self) }
}

extension Int64: PostgresDecodable {
    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> Int64 { try cell.wholeNumber(Int64.self) }
}

extension Int32: PostgresDecodable {
    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> Int32 { try cell.wholeNumber(Int32.self) }
}

extension Int16: PostgresDecodable {
    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> Int16 { try cell.wholeNumber(Int16.self) }
}

extension UInt64: PostgresDecodable {
    /// For `xid8`.
    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> UInt64 {
        guard cell.type == TypeOID.xid8 else { throw cell.mismatch("UInt64") }
        return try cell.integer(UInt64.self)
    }
}

extension Double: PostgresDecodable {
    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> Double {
        switch cell.type {
        case TypeOID.float8: Double(bitPattern: try cell.integer(UInt64.self))
        case TypeOID.float4: Double(Float(bitPattern: try cell.integer(UInt32.self)))
        default: throw cell.mismatch("Double")
        }
    }
}

extension Float: PostgresDecodable {
    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> Float {
        guard cell.type == TypeOID.float4 else { throw cell.mismatch("Float") }
        return Float(bitPattern: try cell.integer(UInt32.self))
    }
}

extension Bool: PostgresDecodable {
    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> Bool {
        guard cell.type == TypeOID.bool else { throw cell.mismatch("Bool") }
        return try cell.integer(UInt8.self) != 0
    }
}

extension String: PostgresDecodable {
    /// From text, varchar, char, name, json and jsonb.
    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> String {
        let bytes = try cell.required("String")
        let text: String?
        switch cell.type {
        case TypeOID.text, TypeOID.varchar, TypeOID.bpchar, TypeOID.name, TypeOID.json, TypeOID.char, TypeOID.unknown:
            text = String(validating: bytes, as: UTF8.self)
        case TypeOID.jsonb:
            text = String(validating: UnsafeRawBufferPointer(rebasing: bytes.dropFirst()), as: UTF8.self)
        default: text = nil
        }
        guard let text else { throw cell.mismatch("String") }
        return text
    }
}

extension Timestamp: PostgresDecodable {
    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> Timestamp {
        guard cell.type == TypeOID.timestamptz || cell.type == TypeOID.timestamp else {
            throw cell.mismatch("Timestamp")
        }
        return PostgresTime.timestamp(try cell.integer(Int64.self))
    }
}

extension NodeID: PostgresDecodable {
    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> NodeID {
        NodeID(rawValue: try cell.wholeNumber(Int64.self))
    }
}

extension Shard: PostgresDecodable {
    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> Shard {
        let value = try cell.wholeNumber(Int.self)
        guard (0..<Shard.count).contains(value) else { throw cell.mismatch("Shard") }
        return Shard(rawValue: value)
    }
}

/// A JSON column read as a Codable type: `row.decode((Int64, PostgresJSON<Profile>).self)`.
public struct PostgresJSON<Value: Decodable & Sendable>: PostgresDecodable {
    public let value: Value

    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> PostgresJSON {
        let text = try String.decode(cell)
        do {
            return PostgresJSON(value: try JSONDecoder().decode(Value.self, from: Data(text.utf8)))
        } catch {
            throw PostgresError(.malformedRow, detail: "column \(cell.column): \(error)")
        }
    }
}

extension Optional: PostgresDecodable where Wrapped: PostgresDecodable {
    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> Wrapped? {
        guard cell.bytes != nil else { return nil }
        return try Wrapped.decode(cell)
    }
}
