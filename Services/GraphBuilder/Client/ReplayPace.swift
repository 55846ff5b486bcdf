/// When a recorded moment is due: `speed` seconds of recorded time pass in one second of ours.
struct ReplayPace: Sendable {
    /// 0: everything is due at once.
    let speed: Double
    /// Recorded time of the first observation, in milliseconds.
    let originMs: Int64

    /// Seconds after the start of the replay at which the observation of `timeMs` is due, never negative.
    func dueSeconds(timeMs: Int64) -> Double {
        self.speed > 0 ? max(0, Double(timeMs - self.originMs) / 1_000 / self.speed) : 0
    }
}
