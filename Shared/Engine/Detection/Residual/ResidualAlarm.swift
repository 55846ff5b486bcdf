import Model

/// The alarm level of one node's scores, moved by the alarms it really gave: adaptive conformal inference (Gibbs and Candes
/// 2021) on episodes instead of buckets.
///
/// Each alarm raises the level by `step` once it is over; without alarms it falls by step x budget a day, not below `base`. So
/// whatever the scores are, a node gives no more than budget x days + (highest score - base) / step + 1 alarms: drift, which makes any
/// learnt quantile too low, costs a node its sensitivity and not the reader's patience.
struct ResidualAlarm: Sendable, Hashable, Codable {
    /// Nats, of 50.
    static let base = 30.0
    static let step = 15.0
    static let openAfter = 3

    private var raised = 0.0
    private var beyond = 0
    private var below = 0
    private var isOpen = false

    init() {}

    func validate() throws(DetectorStateError) {
        try DetectorStateError.require(
            [self.beyond, self.below].allSatisfy(DetectorStateError.counts.contains), "alarm", "counts within reason")
    }

    var level: Double { Self.base + self.raised }

    /// Takes in a bucket's score; returns whether it is beyond the level as it was before.
    mutating func observe(_ score: Double, settings: NodeResidualDetector.Settings) -> Bool {
        let isBeyond = score > self.level
        if isBeyond {
            self.beyond += 1
            self.below = 0
            if self.beyond >= Self.openAfter, !self.isOpen {
                self.isOpen = true
            }
        } else {
            self.beyond = 0
            self.below += 1
            let patience = EpisodeTracker.bucketsToClose(.nodeResidual, bucketMs: settings.bucketMs, least: 3)
            if self.isOpen, self.below >= patience {
                self.isOpen = false
                self.raised += Self.step
            }
        }
        let days = Double(settings.bucketMs) / 86_400_000
        self.raised = max(0, self.raised - Self.step * settings.budget.alarmsPerNodeDay * days)
        return isBeyond
    }
}
