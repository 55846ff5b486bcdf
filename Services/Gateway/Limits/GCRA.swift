/// The generic cell rate algorithm: a token bucket in one number, the theoretical arrival time of the next request.
///
/// With emission interval T = 1/rate and burst B, a request at `now` is admitted iff
///
///     max(arrival, now) + cost * T - now <= B * T
///
/// and then moves `arrival` there. A bucket whose arrival time is not after `now` is full, so it equals one never seen.
struct GCRA: Hashable, Sendable {
    /// Tokens that an idle caller may spend at once, 1 ... 1,000,000.
    let burst: Int
    /// Nanoseconds in which one token comes back.
    let intervalNanoseconds: Int64

    /// - Parameter refillPerSecond: tokens that come back each second, 0.001 ... 1,000,000; the interval is rounded up to
    ///   whole nanoseconds, so the rate granted is never above the rate asked for.
    init(burst: Int, refillPerSecond: Double) {
        precondition((1...1_000_000).contains(burst), "a burst is 1 to a million tokens")
        precondition((0.001...1_000_000).contains(refillPerSecond), "a rate is 0.001 to a million tokens a second")
        self.burst = burst
        self.intervalNanoseconds = Int64((1e9 / refillPerSecond).rounded(.up))
    }

    /// What became of one request.
    struct Decision: Hashable, Sendable {
        let isAdmitted: Bool
        /// Whole tokens left after the decision, 0 ... burst.
        let remaining: Int
        /// Nanoseconds after which the same request would be admitted; 0 when it was.
        let retryAfterNanoseconds: Int64
        /// Nanoseconds until the bucket is full again.
        let resetNanoseconds: Int64
    }

    /// Decides on a request of one token and moves `arrival` when it is admitted.
    ///
    /// - Parameters:
    ///   - arrival: the bucket's theoretical arrival time, in nanoseconds of any monotonic clock.
    ///   - now: the same clock; a step back is treated as no time having passed.
    func admit(_ arrival: inout Int64, now: Int64) -> Decision {
        let capacity = Int64(self.burst) * self.intervalNanoseconds
        let next = max(arrival, now) + self.intervalNanoseconds
        let excess = next - now - capacity
        guard excess <= 0 else {
            let spent = next - self.intervalNanoseconds - now
            return Decision(
                isAdmitted: false, remaining: Int(max(0, capacity - spent) / self.intervalNanoseconds),
                retryAfterNanoseconds: excess, resetNanoseconds: spent)
        }
        arrival = next
        return Decision(
            isAdmitted: true, remaining: Int(-excess / self.intervalNanoseconds), retryAfterNanoseconds: 0,
            resetNanoseconds: next - now)
    }

    /// Seconds in which an empty bucket fills, at least 1: the window of the `RateLimit-Policy` field.
    var windowSeconds: Int {
        let nanoseconds = Double(self.burst) * Double(self.intervalNanoseconds)
        return max(1, Int((nanoseconds / 1e9).rounded(.up)))
    }
}
