import Model

/// Correlation and lead of two irregular tick series without a grid (Hayashi and Yoshida 2005, Bernoulli 11; with lags:
/// Hoffmann, Rosenbaum and Yoshida 2013, Bernoulli 19).
public enum HayashiYoshida {
    public struct Options: Hashable, Sendable, Codable {
        /// Lags -lagLimitMs ... lagLimitMs are tried in steps of lagStepMs.
        public var lagStepMs: Int64
        public var lagLimitMs: Int64
        /// Length of a bootstrap block.
        public var blockMs: Int64
        /// Bootstrap draws.
        public var draws: Int
        /// Random circular shifts that give the threshold.
        public var shifts: Int
        public var seed: UInt64

        public init(
            lagStepMs: Int64, lagLimitMs: Int64, blockMs: Int64 = 600_000, draws: Int = 200, shifts: Int = 150,
            seed: UInt64 = 1
        ) {
            self.lagStepMs = lagStepMs
            self.lagLimitMs = lagLimitMs
            self.blockMs = blockMs
            self.draws = draws
            self.shifts = shifts
            self.seed = seed
        }
    }

    /// Positive `lagMs`: the first series moves first.
    public struct Estimate: Hashable, Sendable {
        /// rho at the lag of largest |rho|, -1 ... 1, and at lag 0.
        public var rho: Double
        public var rhoAtZero: Double
        public var lagMs: Int64
        /// 95 % bootstrap intervals.
        public var rhoLow: Double
        public var rhoHigh: Double
        public var lagLowMs: Int64
        public var lagHighMs: Int64
        /// Bootstrap standard deviation of rho at the lag.
        public var deviation: Double
        /// Two-sided p of no correlation, simultaneous over all lags tried.
        public var pValue: Double
        /// The 99 % quantile of the largest |rho| under random circular shifts.
        public var threshold: Double
        /// Units of the second series per unit of the first.
        public var beta: Double
        /// Increments of each series.
        public var firstIncrements: Int
        public var secondIncrements: Int
    }
}
