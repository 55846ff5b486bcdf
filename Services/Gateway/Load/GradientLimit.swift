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
    static let windowNanoseconds: Int64 = 100_000_000
    static let windowSamples = 10

    private(set) var limit = 64.0
    private(set) var inFlight = 0
    private var longTerm: Double?
    private var windowStart: Int64 = .min
    private var windowSum = 0.0
    private var windowCount = 0
    private var windowDropped = 0
    private var windowPeak = 0

    /// - Returns: whether there is room; it is then given back by ``end(latency:isDropped:now:)``.
    mutating func begin() -> Bool {
        guard self.inFlight < Int(self.limit) else { return false }
        self.inFlight += 1
        self.windowPeak = max(self.windowPeak, self.inFlight)
        return true
    }

    /// - Parameters:
    ///   - latency: nanoseconds to the head of the answer; nil when that says nothing about the service.
    ///   - isDropped: the service refused or did not answer in time.
    ///   - now: monotonic nanoseconds.
    mutating func end(latency: Int64?, isDropped: Bool, now: Int64) {
        self.inFlight = max(0, self.inFlight - 1)
        if isDropped { self.windowDropped += 1 }
        if let latency, !isDropped {
            self.windowSum += Double(latency)
            self.windowCount += 1
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

    private mutating func update() {
        var gradient = 1.0
        if self.windowCount > 0 {
            let short = self.windowSum / Double(self.windowCount)
            var long = self.longTerm ?? short
            // A long average that has become too high would let latency creep up for ever.
            if long > 2 * short { long *= 0.9 }
            long += 0.02 * (short - long)
            self.longTerm = long
            gradient = max(0.5, min(1, (Self.tolerance * long + Self.noiseNanoseconds) / short))
        }
        if self.windowDropped * 10 > self.windowCount { gradient = min(gradient, 0.8) }
        // A limit that nobody reaches says nothing: it does not grow.
        let isUsed = Double(self.windowPeak) * 2 >= self.limit
        guard gradient < 1 || isUsed else { return }
        let wanted = self.limit * gradient + (gradient < 1 ? 0 : self.limit.squareRoot())
        self.limit = min(Self.most, max(Self.least, 0.8 * self.limit + 0.2 * wanted))
    }
}
