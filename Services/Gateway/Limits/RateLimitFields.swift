import HTTPTypes
import Model

/// The rate limit as header fields: draft-ietf-httpapi-ratelimit-headers-11. The names stand only here.
enum RateLimitFields {
    static let policy = HTTPField.Name.known("RateLimit-Policy")
    static let state = HTTPField.Name.known("RateLimit")

    /// `"caller";q=1000;w=1` and `"caller";r=999;t=1`: quota of a window of w seconds, remaining, seconds until full.
    static func set(_ decision: GCRA.Decision, of policy: GCRA, named name: String, on fields: inout HTTPFields) {
        fields[Self.policy] = "\"\(name)\";q=\(policy.burst);w=\(policy.windowSeconds)"
        fields[Self.state] =
            "\"\(name)\";r=\(decision.remaining);t=\(Self.wholeSeconds(decision.resetNanoseconds))"
    }

    /// The refusal of `decision`: its `retryAfter` is the time after which one more request is admitted.
    static func problem(_ decision: GCRA.Decision, of policy: GCRA, whose: String) -> Problem {
        let seconds = Double(decision.retryAfterNanoseconds) / 1e9
        return Problem(
            .rateLimited,
            detail:
                "\(whose) may send \(policy.burst) requests at once and one more every "
                + "\(Self.text(Double(policy.intervalNanoseconds) / 1e6)) ms on this instance.",
            retryAfter: (seconds * 1_000).rounded(.up) / 1_000, scope: "per-instance")
    }

    static func wholeSeconds(_ nanoseconds: Int64) -> Int64 { (max(0, nanoseconds) + 999_999_999) / 1_000_000_000 }

    private static func text(_ value: Double) -> String {
        value == value.rounded() ? String(Int(value)) : String((value * 1_000).rounded() / 1_000)
    }
}
