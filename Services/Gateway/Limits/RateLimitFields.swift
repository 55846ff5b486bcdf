import Model
import NIOCore

/// The rate limit as header fields: draft-ietf-httpapi-ratelimit-headers-11. The names stand only here.
enum RateLimitFields {
    static let policyName = "ratelimit-policy"
    static let stateName = "ratelimit"

    /// `ratelimit-policy: "caller";q=1000;w=1`: quota of a window of w seconds. The same for every answer.
    static func policyLine(_ policy: GCRA, named name: String) -> String {
        "\(Self.policyName): \"\(name)\";q=\(policy.burst);w=\(policy.windowSeconds)\r\n"
    }

    /// `ratelimit: "caller";r=999;t=1`: what remains, and seconds until it is full.
    static func writeState(_ decision: GCRA.Decision, named name: String, into writer: inout ByteWriter) {
        writer.write(Self.stateName)
        writer.write(": \"")
        writer.write(name)
        writer.write("\";r=")
        writer.write(decimal: decision.remaining)
        writer.write(";t=")
        writer.write(decimal: Int(Self.wholeSeconds(decision.resetNanoseconds)))
        writer.writeLineEnd()
    }

    /// The refusal of `decision`: its `retryAfter` is the time after which one more request is admitted.
    static func problem(_ decision: GCRA.Decision, of policy: GCRA, whose: String, scope: String = "per-instance")
        -> Problem
    {
        let seconds = Double(decision.retryAfterNanoseconds) / 1e9
        return Problem(
            .rateLimited,
            detail:
                "\(whose) may send \(policy.burst) requests at once and one more every "
                + "\(Self.text(Double(policy.intervalNanoseconds) / 1e6)) ms"
                + (scope == "global" ? "." : " on this instance."),
            retryAfter: (seconds * 1_000).rounded(.up) / 1_000, scope: scope)
    }

    static func wholeSeconds(_ nanoseconds: Int64) -> Int64 { (max(0, nanoseconds) + 999_999_999) / 1_000_000_000 }

    private static func text(_ value: Double) -> String {
        value == value.rounded() ? String(Int(value)) : String((value * 1_000).rounded() / 1_000)
    }
}
