/// How many requests of all kinds a service gets at once, and which kinds are let through when it gets busy.
///
/// One limit for the service, of which each kind may use its share (``WorkClass/share``): as the service fills, bulk is refused
/// first, then what must be computed, then reading. The limit grows and shrinks as ``GradientLimit`` does; each answer is
/// compared with the usual time of its own kind, so a change of the mix is no change of speed. Kinds after reading have a limit
/// of their own besides: what makes only them slow takes places only from them.
struct UpstreamLimit: Hashable, Sendable {
    /// What is compared when there is no room.
    struct Bound: Hashable, Sendable {
        let inFlight: Int
        let limit: Int
    }

    /// Of all kinds together, so that even bulk, the last, keeps some twenty places while a service stands still for a moment.
    static let least = 2 * GradientLimit.least

    private(set) var limit = GradientLimit.initial
    private(set) var inFlight = 0
    private var kinds = [GradientLimit](repeating: GradientLimit(), count: WorkClass.allCases.count)
    private var windowStart: Int64 = .min
    private var windowSlowness = 0.0
    private var windowCount = 0
    private var windowDropped = 0
    private var windowPeak = 0

    /// - Returns: whether there is room; it is then given back by ``end(_:_:now:)``.
    mutating func begin(_ work: WorkClass) -> Bool {
        guard self.inFlight < Int(self.limit * work.share), self.kinds[work.rawValue].begin(isBounded: work.isBounded)
        else { return false }
        self.inFlight += 1
        self.windowPeak = max(self.windowPeak, self.inFlight)
        return true
    }

    /// - Parameter now: monotonic nanoseconds.
    mutating func end(_ work: WorkClass, _ outcome: GradientLimit.Outcome, now: Int64) {
        self.inFlight = max(0, self.inFlight - 1)
        if outcome == .refused { self.windowDropped += 1 }
        if let slowness = self.kinds[work.rawValue].slowness(outcome) {
            self.windowSlowness += slowness
            self.windowCount += 1
        }
        self.kinds[work.rawValue].end(outcome, now: now)
        if self.windowStart == .min { self.windowStart = now }
        guard now - self.windowStart >= GradientLimit.windowNanoseconds,
            self.windowCount + self.windowDropped >= GradientLimit.windowSamples
        else { return }
        var gradient = 1.0
        if self.windowCount > 0 {
            gradient = max(0.5, min(1, Double(self.windowCount) / max(self.windowSlowness, .leastNormalMagnitude)))
        }
        if self.windowDropped * 10 > self.windowCount { gradient = min(gradient, 0.8) }
        self.limit = GradientLimit.next(self.limit, gradient: gradient, peak: self.windowPeak, least: Self.least)
        self.windowStart = now
        self.windowSlowness = 0
        self.windowCount = 0
        self.windowDropped = 0
        self.windowPeak = self.inFlight
    }

    /// Requests of this kind there now.
    func inFlight(_ work: WorkClass) -> Int { self.kinds[work.rawValue].inFlight }

    /// The bound that leaves the least room for one more of this kind.
    func bound(_ work: WorkClass) -> Bound {
        let all = Bound(inFlight: self.inFlight, limit: Int(self.limit * work.share))
        guard work.isBounded else { return all }
        let kind = self.kinds[work.rawValue]
        let own = Bound(inFlight: kind.inFlight, limit: Int(kind.limit))
        return own.limit - own.inFlight < all.limit - all.inFlight ? own : all
    }
}
