/// How many requests of one kind a service gets at once: as many as it answers without getting slower.
///
/// After Netflix' gradient limiter: the latency of the latest window is compared with a long average; while they agree the
/// limit grows by its own square root, and when answers slow down it shrinks in proportion, at most by half a window.
/// A refused answer (503, 504 or none) also shrinks it.
struct GradientLimit: Hashable, Sendable {
    static let least = 16.0
    static let most = 1_024.0
    /// Latency may rise this much, and by this much, before the limit shrinks: answers of a fraction of a millisecond take
    /// several times as long whenever a processor is shared, and that is no queue.
    static let tolerance = 1.5
    static let noiseNanoseconds = 10e6
    /// An answer counts as at most this many times as slow as is tolerated: one that takes seconds among hundreds that do not is
    /// no queue, and must not pass for one by its mean.
    static let mostSlowness = 4.0
    static let windowNanoseconds: Int64 = 100_000_000
    static let windowSamples = 10

    /// What became of a request at the service.
    enum Outcome: Hashable, Sendable {
        /// - Parameter nanoseconds: to the head of the answer.
        case answered(nanoseconds: Int64)
        /// It said that it is overloaded, or did not answer in the time that requests have.
        case refused
        /// The client waited for this time only: it counts when that alone is longer than usual.
        case abandoned(afterNanoseconds: Int64)
        /// It says nothing about how busy the service is.
        case unknown
    }

    static let initial = 64.0

    private(set) var limit = GradientLimit.initial
    private(set) var inFlight = 0
    private var longTerm: Double?
    private var windowStart: Int64 = .min
    private var windowSum = 0.0
    private var windowCount = 0
    private var windowDropped = 0
    private var windowPeak = 0

    /// - Parameter isBounded: false: there always is room.
    /// - Returns: whether there is room; it is then given back by ``end(_:now:)``.
    mutating func begin(isBounded: Bool = true) -> Bool {
        guard !isBounded || self.inFlight < Int(self.limit) else { return false }
        self.inFlight += 1
        self.windowPeak = max(self.windowPeak, self.inFlight)
        return true
    }

    /// - Parameter now: monotonic nanoseconds.
    mutating func end(_ outcome: Outcome, now: Int64) {
        self.inFlight = max(0, self.inFlight - 1)
        switch outcome {
        case .answered(let nanoseconds): self.sample(nanoseconds)
        case .refused: self.windowDropped += 1
        case .abandoned(let nanoseconds):
            // A short wait is the client's choice and must not make the service look fast, or slow.
            if let longTerm, Double(nanoseconds) > Self.tolerated(longTerm) { self.sample(nanoseconds) }
        case .unknown: break
        }
        if self.windowStart == .min { self.windowStart = now }
        guard now - self.windowStart >= Self.windowNanoseconds,
            self.windowCount + self.windowDropped >= Self.windowSamples
        else { return }
        self.update()
        self.windowStart = now
        self.windowSum = 0
        self.windowCount = 0
        self.windowDropped = 0
        self.windowPeak = self.inFlight
    }

    private mutating func sample(_ nanoseconds: Int64) {
        let most = self.longTerm.map { Self.mostSlowness * Self.tolerated($0) } ?? .infinity
        self.windowSum += min(Double(nanoseconds), most)
        self.windowCount += 1
    }

    private static func tolerated(_ longTerm: Double) -> Double { Self.tolerance * longTerm + Self.noiseNanoseconds }

    /// How many times as long as is tolerated an answer took, at most ``mostSlowness``; nil while nothing is known of this kind, or when it says nothing.
    func slowness(_ outcome: Outcome) -> Double? {
        guard let longTerm else { return nil }
        let tolerated = Self.tolerated(longTerm)
        switch outcome {
        case .answered(let nanoseconds): return min(Self.mostSlowness, Double(nanoseconds) / tolerated)
        case .abandoned(let nanoseconds):
            return Double(nanoseconds) > tolerated ? min(Self.mostSlowness, Double(nanoseconds) / tolerated) : nil
        case .refused, .unknown: return nil
        }
    }

    private mutating func update() {
        var gradient = 1.0
        if self.windowCount > 0 {
            let short = self.windowSum / Double(self.windowCount)
            var long = self.longTerm ?? short
            // A long average that has become too high would let latency creep up for ever.
            if long > 2 * short { long *= 0.9 }
            long += 0.02 * (short - long)
            self.longTerm = long
            gradient = max(0.5, min(1, Self.tolerated(long) / short))
        }
        if self.windowDropped * 10 > self.windowCount { gradient = min(gradient, 0.8) }
        self.limit = Self.next(self.limit, gradient: gradient, peak: self.windowPeak)
    }

    /// The limit after a window.
    /// - Parameters:
    ///   - gradient: 0.5 ... 1, below 1: too much is there.
    ///   - peak: most requests there at once.
    ///   - least: it never is below.
    static func next(_ limit: Double, gradient: Double, peak: Int, least: Double = GradientLimit.least) -> Double {
        // A limit that nobody reaches says nothing: it does not grow.
        let isUsed = Double(peak) * 2 >= limit
        guard gradient < 1 || isUsed else { return limit }
        let wanted = limit * gradient + (gradient < 1 ? 0 : limit.squareRoot())
        return min(Self.most, max(least, 0.8 * limit + 0.2 * wanted))
    }
}
