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
    func write(json writer: inout ByteWriter, now: Int64) {
        writer.write("{\"bytesOut\":\"")
        writer.write(decimal: self.bytesOut)
        writer.write("\",\"caller\":\"")
        writer.write(escaped: self.caller)
        writer.write("\",\"code\":\"")
        writer.write(self.code)
        writer.write("\",\"credential\":\"")
        writer.write(self.credential)
        writer.write("\",\"durationUs\":\"")
        writer.write(decimal: Int((now - self.startedAt) / 1_000))
        writer.write("\",\"http\":\"")
        writer.write(self.httpVersion)
        writer.write("\",\"interruption\":\"")
        writer.write(escaped: self.interruption)
        writer.write("\",\"keyId\":\"")
        writer.write(self.keyID)
        writer.write("\",\"method\":\"")
        writer.write(escaped: self.method)
        writer.write("\",\"peer\":\"")
        writer.write(escaped: self.peer)
        writer.write("\",\"replica\":\"")
        writer.write(escaped: self.replica)
        writer.write("\",\"route\":\"")
        writer.write(self.route)
        writer.write("\",\"spanId\":\"")
        writer.write(hex: self.trace.spanID.rawValue)
        writer.write("\",\"status\":\"")
        writer.write(decimal: self.status)
        writer.write("\",\"traceId\":\"")
        writer.write(hex: self.trace.traceID.high)
        writer.write(hex: self.trace.traceID.low)
        writer.write("\",\"upstream\":\"")
        writer.write(self.upstream)
        writer.write("\",\"userAgent\":\"")
        writer.write(escaped: Self.safe(self.userAgent))
        writer.write("\"}")
    }

    /// At most 128 bytes of visible ASCII: a header is the client's text and may try to forge lines.
    static func safe(_ text: String?) -> String {
        guard let text, !text.isEmpty else { return "-" }
        if text.utf8.count <= 128, text.utf8.allSatisfy({ (0x20...0x7E).contains($0) }) { return text }
        return String(decoding: text.utf8.prefix(128).map { (0x20...0x7E).contains($0) ? $0 : 0x3F }, as: UTF8.self)
    }
}
