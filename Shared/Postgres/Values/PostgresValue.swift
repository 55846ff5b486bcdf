import Foundation
import Model

/// A statement parameter with its PostgreSQL type. All but `null` are sent in binary with their type, so the server never
/// guesses and nothing is printed and parsed.
public enum PostgresValue: Sendable, Hashable {
    /// Takes whatever type the statement gives the parameter.
    case null
    case bool(Bool)
    case int16(Int16)
    case int32(Int32)
    case int64(Int64)
    /// `real`
    case float(Float)
    /// `double precision`; NaN and infinities are kept.
    case double(Double)
    /// Must not contain NUL; the server refuses it as invalid data.
    case text(String)
    case bytea([UInt8])
    /// `timestamptz`
    case timestamp(Timestamp)
    /// `jsonb`, as UTF-8 text.
    case jsonb([UInt8])
    case int16Array([Int16])
    case int32Array([Int32])
    case int64Array([Int64])
    case floatArray([Float])
    case doubleArray([Double])
    case boolArray([Bool])
    case textArray([String])
    case byteaArray([[UInt8]])
    case timestampArray([Timestamp])
    /// Arrays whose elements may be missing.
    case optionalInt16Array([Int16?])
    case optionalInt64Array([Int64?])
    case optionalDoubleArray([Double?])
    case optionalTextArray([String?])
    case optionalTimestampArray([Timestamp?])
}

extension PostgresValue {
    public static func jsonb(_ text: String) -> PostgresValue { .jsonb(Array(text.utf8)) }

    /// Encodes with sorted keys, so equal values are equal bytes.
    public static func jsonb(encoding value: some Encodable) throws -> PostgresValue {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        return .jsonb(Array(try encoder.encode(value)))
    }

    public static func int(_ value: Int) -> PostgresValue { .int64(Int64(value)) }
    public static func node(_ value: NodeID) -> PostgresValue { .int64(value.rawValue) }
    public static func nodeArray(_ values: [NodeID]) -> PostgresValue { .int64Array(values.map(\.rawValue)) }
    public static func shard(_ value: Shard) -> PostgresValue { .int16(Int16(value.rawValue)) }
    public static func shardArray(_ values: [Shard]) -> PostgresValue { .int16Array(values.map { Int16($0.rawValue) }) }

    /// `value.map(make) ?? .null`
    public static func optional<Wrapped>(_ value: Wrapped?, _ make: (Wrapped) -> PostgresValue) -> PostgresValue {
        value.map(make) ?? .null
    }
}

extension PostgresValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral,
    ExpressibleByBooleanLiteral, ExpressibleByNilLiteral
{
    public init(stringLiteral value: String) { self = .text(value) }
    public init(integerLiteral value: Int64) { self = .int64(value) }
    public init(floatLiteral value: Double) { self = .double(value) }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(nilLiteral: ()) { self = .null }
}

/// Object ids of the built-in types (`pg_type.dat`); they never change.
enum TypeOID {
    static let bool: UInt32 = 16
    static let bytea: UInt32 = 17
    static let char: UInt32 = 18
    static let name: UInt32 = 19
    static let int8: UInt32 = 20
    static let int2: UInt32 = 21
    static let int4: UInt32 = 23
    static let text: UInt32 = 25
    static let oid: UInt32 = 26
    static let xid: UInt32 = 28
    static let json: UInt32 = 114
    static let float4: UInt32 = 700
    static let float8: UInt32 = 701
    static let bpchar: UInt32 = 1042
    static let varchar: UInt32 = 1043
    static let timestamp: UInt32 = 1114
    static let timestamptz: UInt32 = 1184
    static let jsonb: UInt32 = 3802
    static let xid8: UInt32 = 5069
    static let void: UInt32 = 2278
    static let unknown: UInt32 = 705
    static let boolArray: UInt32 = 1000
    static let byteaArray: UInt32 = 1001
    static let int2Array: UInt32 = 1005
    static let int4Array: UInt32 = 1007
    static let textArray: UInt32 = 1009
    static let int8Array: UInt32 = 1016
    static let float4Array: UInt32 = 1021
    static let float8Array: UInt32 = 1022
    static let timestamptzArray: UInt32 = 1185
}

/// PostgreSQL counts microseconds from 2000-01-01T00:00:00Z.
enum PostgresTime {
    static let epochOffsetMs: Int64 = 946_684_800_000

    static func microseconds(_ time: Timestamp) -> Int64 {
        let (value, overflow) = (time.milliseconds - Self.epochOffsetMs).multipliedReportingOverflow(by: 1_000)
        // Only times that RFC 3339 cannot write overflow; they become PostgreSQL's infinities.
        return overflow ? (time.milliseconds < 0 ? Int64.min : Int64.max) : value
    }

    /// `-infinity` and `infinity` become the earliest and the latest time; microseconds are cut down to milliseconds.
    static func timestamp(_ microseconds: Int64) -> Timestamp {
        switch microseconds {
        case Int64.min: return .earliest
        case Int64.max: return .latest
        default:
            let quotient = microseconds / 1_000
            let floored = microseconds % 1_000 < 0 ? quotient - 1 : quotient
            return Timestamp(milliseconds: floored + Self.epochOffsetMs)
        }
    }
}
