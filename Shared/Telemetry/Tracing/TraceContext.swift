/// The position of one request in a distributed trace, as W3C Trace Context writes it in `traceparent`
/// (https://www.w3.org/TR/trace-context/, sections 3.2 and 3.3).
public struct TraceContext: Hashable, Sendable {
    /// Header names, lower case as the specification asks.
    public static let parentHeader = "traceparent"
    public static let stateHeader = "tracestate"

    public var traceID: TraceID
    public var spanID: SpanID
    /// Whether the caller recorded this trace. Other flags are dropped, as the specification asks of unknown ones.
    public var isSampled: Bool
    public var state: TraceState

    public init(traceID: TraceID, spanID: SpanID, isSampled: Bool, state: TraceState = TraceState()) {
        self.traceID = traceID
        self.spanID = spanID
        self.isSampled = isSampled
        self.state = state
    }

    /// A new trace that nobody called.
    public static func root(isSampled: Bool) -> TraceContext {
        TraceContext(traceID: .random(), spanID: .random(), isSampled: isSampled)
    }

    /// Reads the two headers. A malformed `traceparent` gives nil (the caller starts a new trace); a malformed `tracestate`
    /// is dropped alone.
    public init?(parent: String, state: String? = nil) {
        let bytes = Array(parent.utf8)
        // version "-" trace-id "-" parent-id "-" flags = 55 bytes; later versions may append "-" and more.
        guard (55...512).contains(bytes.count), bytes[2] == 0x2D, bytes[35] == 0x2D, bytes[52] == 0x2D,
            let version = Hex.value(bytes[0..<2]), version != 0xFF,
            let high = Hex.value(bytes[3..<19]), let low = Hex.value(bytes[19..<35]),
            let span = Hex.value(bytes[36..<52]), let flags = Hex.value(bytes[53..<55]),
            high != 0 || low != 0, span != 0,
            version == 0 ? bytes.count == 55 : bytes.count == 55 || bytes[55] == 0x2D
        else { return nil }
        self.init(
            traceID: TraceID(high: high, low: low), spanID: SpanID(rawValue: span), isSampled: flags & 1 == 1,
            state: state.flatMap(TraceState.init(header:)) ?? TraceState())
    }

    /// `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`
    public var parent: String {
        "00-\(self.traceID.description)-\(self.spanID.description)-\(self.isSampled ? "01" : "00")"
    }
}

/// 16 bytes, never all zero.
public struct TraceID: Hashable, Sendable, CustomStringConvertible {
    public let high: UInt64
    public let low: UInt64

    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    public static func random() -> TraceID {
        TraceID(high: UInt64.random(in: 0 ... .max), low: UInt64.random(in: 1 ... .max))
    }

    /// 32 lower-case hexadecimal digits.
    public var description: String { Hex.text(self.high) + Hex.text(self.low) }
}

/// 8 bytes, never all zero.
public struct SpanID: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }

    public static func random() -> SpanID { SpanID(rawValue: UInt64.random(in: 1 ... .max)) }

    /// 16 lower-case hexadecimal digits.
    public var description: String { Hex.text(self.rawValue) }
}

/// Fixed-width lower-case hexadecimal; upper case is refused, as the specification asks.
enum Hex {
    private static let digits = Array("0123456789abcdef".utf8)

    static func text(_ value: UInt64) -> String {
        String(unsafeUninitializedCapacity: 16) { buffer in
            for index in 0..<16 {
                buffer[index] = Self.digits[Int(truncatingIfNeeded: value >> UInt64(60 - 4 * index)) & 0xF]
            }
            return 16
        }
    }

    /// - Returns: nil when a byte is no lower-case hexadecimal digit. At most 16 digits.
    static func value(_ bytes: ArraySlice<UInt8>) -> UInt64? {
        var value: UInt64 = 0
        for byte in bytes {
            switch byte {
            case 0x30...0x39: value = value << 4 | UInt64(byte - 0x30)
            case 0x61...0x66: value = value << 4 | UInt64(byte - 0x61 + 10)
            default: return nil
            }
        }
        return value
    }
}
