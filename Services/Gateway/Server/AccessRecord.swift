import Logging

/// One line of the access log: fixed fields, nothing from a header but the user agent, no query, no credential.
struct AccessRecord: Sendable {
    let method: String
    /// Template of the route; `-` outside the table. The path itself is not logged: ids in it may be private.
    var route = "-"
    let httpVersion: String
    let peer: String
    let userAgent: String
    let traceID: String
    let spanID: String
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

    func write(to logger: Logger, now: Int64) {
        let microseconds = (now - self.startedAt) / 1_000
        logger.info(
            "access",
            metadata: [
                "method": .string(self.method), "route": .string(self.route), "status": .stringConvertible(self.status),
                "code": .string(self.code), "durationUs": .stringConvertible(microseconds),
                "bytesOut": .stringConvertible(self.bytesOut), "caller": .string(self.caller),
                "credential": .string(self.credential), "keyId": .string(self.keyID),
                "upstream": .string(self.upstream), "replica": .string(self.replica), "peer": .string(self.peer),
                "http": .string(self.httpVersion), "userAgent": .string(self.userAgent),
                "traceId": .string(self.traceID), "spanId": .string(self.spanID),
                "interruption": .string(self.interruption),
            ])
    }

    /// At most 128 bytes of visible ASCII: a header is the client's text and may try to forge lines.
    static func safe(_ text: String?) -> String {
        guard let text, !text.isEmpty else { return "-" }
        return String(decoding: text.utf8.prefix(128).map { (0x20...0x7E).contains($0) ? $0 : 0x3F }, as: UTF8.self)
    }
}
