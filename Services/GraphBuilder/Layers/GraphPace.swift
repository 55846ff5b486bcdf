/// Keeps a replica from building more than so many graphs a second: a bucket that holds one second's worth. A value that is told
/// the time.
struct GraphPace: Hashable, Sendable {
    /// Graphs a second; 0: no limit.
    private(set) var rate: Int
    private var tokens: Double
    private var filledAt: Duration?

    init(rate: Int) {
        self.rate = rate
        self.tokens = Double(rate)
    }

    mutating func set(rate: Int) {
        guard rate != self.rate else { return }
        self = GraphPace(rate: rate)
    }

    /// Whether an evaluation may begin.
    mutating func admits(now: Duration) -> Bool {
        guard self.rate > 0 else { return true }
        let passed = self.filledAt.map { now - $0 } ?? .zero
        self.filledAt = now
        self.tokens = min(Double(self.rate), self.tokens + Double(self.rate) * (passed / .seconds(1)))
        return self.tokens > 0
    }

    /// An evaluation may build more graphs than are left; those to come wait for it.
    mutating func spend(_ graphs: Int) {
        if self.rate > 0 { self.tokens -= Double(graphs) }
    }
}
