import NIOCore
import Telemetry

/// One line of the access log: fixed fields, nothing from a header but the user agent, no query, no credential.
struct AccessRecord: Sendable {
    let method: String
    /// Template of the route; `-` outside the table. The path itself is not logged: ids in it may be private.
    var route = "-"
    let httpVersion: String
    let peer: String
    let userAgent: String?
    var trace: TraceContext
    var status = 0
    /// Problem code; empty for none.
    var code = ""
    var caller = "-"
    var credential = "-"
    var keyID = "-"
    var upstream = "-"
    var replica = "-"
    var bytesOut = 0
    /// Why the exchange was cut short; empty when it was not.
    var interruption = ""
    let startedAt: Int64

    /// Names and values in the order of the names, as JSON.
    func write(json buffer: inout ByteBuffer, now: Int64) {
        buffer.writeStaticString("{\"bytesOut\":\"")
        buffer.writeDecimal(self.bytesOut)
        buffer.writeStaticString("\",\"caller\":\"")
        buffer.writeEscaped(self.caller)
        buffer.writeStaticString("\",\"code\":\"")
        buffer.writeString(self.code)
        buffer.writeStaticString("\",\"credential\":\"")
        buffer.writeString(self.credential)
        buffer.writeStaticString("\",\"durationUs\":\"")
        buffer.writeDecimal(Int((now - self.startedAt) / 1_000))
        buffer.writeStaticString("\",\"http\":\"")
        buffer.writeString(self.httpVersion)
        buffer.writeStaticString("\",\"interruption\":\"")
        buffer.writeEscaped(self.interruption)
        buffer.writeStaticString("\",\"keyId\":\"")
        buffer.writeString(self.keyID)
        buffer.writeStaticString("\",\"method\":\"")
        buffer.writeEscaped(self.method)
        buffer.writeStaticString("\",\"peer\":\"")
        buffer.writeEscaped(self.peer)
        buffer.writeStaticString("\",\"replica\":\"")
        buffer.writeEscaped(self.replica)
        buffer.writeStaticString("\",\"route\":\"")
        buffer.writeString(self.route)
        buffer.writeStaticString("\",\"spanId\":\"")
        buffer.writeHex(self.trace.spanID.rawValue)
        buffer.writeStaticString("\",\"status\":\"")
        buffer.writeDecimal(self.status)
        buffer.writeStaticString("\",\"traceId\":\"")
        buffer.writeHex(self.trace.traceID.high)
        buffer.writeHex(self.trace.traceID.low)
        buffer.writeStaticString("\",\"upstream\":\"")
        buffer.writeString(self.upstream)
        buffer.writeStaticString("\",\"userAgent\":\"")
        buffer.writeEscaped(Self.safe(self.userAgent))
        buffer.writeStaticString("\"}")
    }

    /// At most 128 bytes of visible ASCII: a header is the client's text and may try to forge lines.
    static func safe(_ text: String?) -> String {
        guard let text, !text.isEmpty else { return "-" }
        if text.utf8.count <= 128, text.utf8.allSatisfy({ (0x20...0x7E).contains($0) }) { return text }
        return String(decoding: text.utf8.prefix(128).map { (0x20...0x7E).contains($0) ? $0 : 0x3F }, as: UTF8.self)
    }
}

extension ByteBuffer {
    /// The inside of a JSON text.
    mutating func writeEscaped(_ text: String) {
        guard text.utf8.contains(where: { $0 < 0x20 || $0 == 0x22 || $0 == 0x5C }) else {
            self.writeString(text)
            return
        }
        for byte in text.utf8 {
            switch byte {
            case 0x22, 0x5C:
                self.writeInteger(0x5C as UInt8)
                self.writeInteger(byte)
            case 0..<0x20:
                self.writeStaticString("\\u00")
                self.writeString((byte < 16 ? "0" : "") + String(byte, radix: 16))
            default: self.writeInteger(byte)
            }
        }
    }
}
