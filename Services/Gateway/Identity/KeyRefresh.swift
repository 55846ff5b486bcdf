/// When the keys of tokens are fetched because a token names one that is not known: once per cool-down, and not again for a
/// name that was looked for and was not there.
struct KeyRefresh: Sendable {
    static let coolDownNanoseconds: Int64 = 5_000_000_000
    static let absenceNanoseconds: Int64 = 60_000_000_000
    /// Names remembered as absent, at most.
    static let absenceLimit = 10_000

    enum Verdict: Hashable, Sendable {
        case fetch
        /// It was looked for a moment ago and is not there.
        case absent
        /// It may be new, and the keys may be fetched again after this many nanoseconds.
        case wait(Int64)
    }

    private var fetchedAt: Int64?
    private var absences = BoundedMap<String, Bool>(capacity: KeyRefresh.absenceLimit)

    /// - Parameter now: nanoseconds of a monotonic clock.
    mutating func verdict(keyID: String, now: Int64) -> Verdict {
        if let (_, at) = self.absences[keyID], now - at < Self.absenceNanoseconds { return .absent }
        let wait = self.waitNanoseconds(now: now)
        if wait > 0 { return .wait(wait) }
        self.fetchedAt = now
        return .fetch
    }

    /// Until the keys may be fetched again; 0: now.
    func waitNanoseconds(now: Int64) -> Int64 {
        self.fetchedAt.map { max(0, Self.coolDownNanoseconds - (now - $0)) } ?? 0
    }

    /// The keys were fetched and this one was not among them.
    mutating func isAbsent(_ keyID: String, now: Int64) { self.absences.set(keyID, true, at: now) }
}
