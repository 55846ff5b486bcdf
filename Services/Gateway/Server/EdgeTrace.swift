import Crypto
import Foundation

/// The trace a request belongs to: the client's, when it sent a valid one, else a new one. The gateway's own span is the
/// parent of what the service does.
struct EdgeTrace: Hashable, Sendable {
    /// 32 and 16 lower-case hexadecimal digits, not all zero.
    let traceID: String
    let spanID: String
    let isSampled: Bool
    /// The client's span; nil for a trace that begins here.
    let parentID: String?
    /// `tracestate` to hand on; nil for a trace that begins here.
    let state: String?

    /// W3C Trace Context: an invalid or repeated `traceparent` restarts the trace, and then `tracestate` is dropped.
    init(parents: [String], states: [String]) {
        self.spanID = Self.random(bytes: 8)
        guard parents.count == 1, let parent = Self.parse(parents[0]) else {
            self.traceID = Self.random(bytes: 16)
            self.isSampled = true
            self.parentID = nil
            self.state = nil
            return
        }
        self.traceID = parent.traceID
        self.isSampled = parent.isSampled
        self.parentID = parent.spanID
        let joined = states.joined(separator: ",")
        self.state = joined.isEmpty || joined.utf8.count > 512 ? nil : joined
    }

    /// `00-<trace>-<span>-01`
    var traceParent: String { "00-\(self.traceID)-\(self.spanID)-\(self.isSampled ? "01" : "00")" }

    static func parse(_ text: String) -> (traceID: String, spanID: String, isSampled: Bool)? {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard text.utf8.count <= 128, parts.count >= 4, parts[0].utf8.count == 2, self.isHex(parts[0]),
            parts[0] != "ff", parts[0] != "00" || parts.count == 4, parts[1].utf8.count == 32, self.isHex(parts[1]),
            parts[2].utf8.count == 16, self.isHex(parts[2]), parts[3].utf8.count == 2, self.isHex(parts[3]),
            parts[1].contains(where: { $0 != "0" }), parts[2].contains(where: { $0 != "0" }),
            let flags = UInt8(parts[3], radix: 16)
        else { return nil }
        return (String(parts[1]), String(parts[2]), flags & 1 == 1)
    }

    private static func isHex(_ text: Substring) -> Bool {
        text.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    }

    private static func random(bytes: Int) -> String {
        var text = ""
        while !text.contains(where: { $0 != "0" }) {
            text = (0..<bytes / 8).map { _ in
                let digits = String(UInt64.random(in: .min ... .max), radix: 16)
                return String(repeating: "0", count: 16 - digits.utf8.count) + digits
            }.joined()
        }
        return text
    }
}
