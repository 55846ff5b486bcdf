import Engine
import Model

/// Makes forecasts from moves and scores them, pair by pair.
///
/// A pair has at most one open forecast at a time, so its history is a chain: forecast, outcome, forecast ... Which moves make
/// forecasts and when each comes to its horizon follows from the moves alone; only the intervals need outcomes. So a round goes
/// in three steps: ``plan(_:watermarks:)`` finds the forecasts, ``due(_:)`` names the outcomes to be read (in one query), and
/// ``settle(_:)`` walks each chain in order. A value: the same moves and outcomes give the same forecasts in every replica.
struct ForecastBook: Sendable {
    /// Pairs held in memory; beyond it those without an open forecast are forgotten and read again when they move.
    static let pairLimit = 20_000

    fileprivate struct Planned {
        let move: Finding
        let edge: Edge
        let forecast: Forecast
    }

    fileprivate struct Chain {
        var calibrator: ForecastCalibrator
        /// Made in an earlier round, not scored.
        var open: Forecast?
        var planned: [Planned] = []
    }

    private var chains: [ForecastPair: Chain] = [:]

    /// Pairs of these moves that are not in memory: their past must be given to ``restore(_:)`` before ``plan(_:watermarks:)``.
    func unknownPairs(in moves: [Finding]) -> [ForecastPair] {
        var pairs = Set<ForecastPair>()
        for move in moves {
            for edge in move.edges where edge.lagBuckets > 0 {
                let pair = ForecastPair(source: edge.source, target: edge.target)
                if self.chains[pair] == nil { pairs.insert(pair) }
            }
        }
        return pairs.sorted { ($0.source, $0.target) < ($1.source, $1.target) }
    }

    /// - Parameters:
    ///   - calibrators: what stored forecasts taught; a pair without any starts anew.
    ///   - open: stored forecasts of these pairs that have no score yet.
    mutating func restore(
        _ pairs: [ForecastPair], calibrators: [ForecastPair: ForecastCalibrator], open: [Forecast] = []
    ) {
        for pair in pairs {
            self.chains[pair] = Chain(calibrator: calibrators[pair] ?? ForecastCalibrator(), open: nil)
        }
        for forecast in open {
            let pair = ForecastPair(source: forecast.source, target: forecast.target)
            self.chains[pair]?.open = forecast
        }
    }

    /// Whether this book will score the forecast itself.
    func holds(_ forecast: Forecast) -> Bool {
        self.chains[ForecastPair(source: forecast.source, target: forecast.target)]?.open?.id == forecast.id
    }

    /// Forgets a pair, so that its past is read again: another replica has written to it.
    mutating func forget(_ forecast: Forecast) {
        self.chains[ForecastPair(source: forecast.source, target: forecast.target)] = nil
    }

    /// Finds the forecasts that moves make. A pair makes none before its last one has come to its horizon in the target's own
    /// domain.
    ///
    /// - Parameter moves: findings of kind `move` in order of their window ends.
    /// - Parameter watermarks: newest evaluated bucket per domain.
    mutating func plan(_ moves: [Finding], watermarks: [String: Timestamp]) {
        for move in moves where move.kind == .move {
            for edge in move.edges {
                let pair = ForecastPair(source: edge.source, target: edge.target)
                guard var chain = self.chains[pair], let forecast = Forecast(of: edge, after: move, calibrator: nil)
                else { continue }
                guard chain.calibrator.isFree(at: move.windowEnd),
                    chain.calibrator.isFree(at: watermarks[edge.target.domain] ?? .earliest)
                else { continue }
                chain.calibrator.pendingUntil = forecast.horizonAt
                chain.planned.append(Planned(move: move, edge: edge, forecast: forecast))
                self.chains[pair] = chain
            }
        }
    }

    /// Forecasts, open or planned, whose horizon the target's domain has passed, with the bucket width they were made on.
    func due(_ watermarks: [String: Timestamp]) -> [Forecast] {
        var due: [Forecast] = []
        for (pair, chain) in self.chains {
            guard let watermark = watermarks[pair.target.domain] else { continue }
            for forecast in [chain.open].compactMap({ $0 }) + chain.planned.map(\.forecast)
            where forecast.horizonAt <= watermark {
                due.append(forecast)
            }
        }
        return due.sorted { ($0.horizonAt, $0.id) < ($1.horizonAt, $1.id) }
    }

    /// What is to be written after a round.
    struct Round: Sendable, Equatable {
        var made: [Forecast] = []
        var scored: [ScoredForecast] = []
    }

    /// An outcome that was read; nil where the target's values are not known.
    struct Outcome: Sendable, Equatable {
        let change: Double?
        let baseRate: Double?
    }

    /// Walks every chain: a forecast takes its interval from the outcomes before it.
    /// - Parameter outcomes: by forecast id; exactly those of ``due(_:)``.
    mutating func settle(_ outcomes: [String: Outcome]) -> Round {
        var round = Round()
        for pair in Array(self.chains.keys) {
            guard var chain = self.chains[pair], chain.open != nil || !chain.planned.isEmpty else { continue }
            let pendingUntil = chain.calibrator.pendingUntil
            chain.score(outcomes, &round)
            for planned in chain.planned {
                guard
                    let forecast = Forecast(of: planned.edge, after: planned.move, calibrator: chain.calibrator)
                else { continue }
                round.made.append(forecast)
                chain.open = forecast
                chain.score(outcomes, &round)
            }
            chain.planned = []
            chain.calibrator.pendingUntil = pendingUntil
            self.chains[pair] = chain
        }
        self.shrink()
        round.made.sort { ($0.movedAt, $0.id) < ($1.movedAt, $1.id) }
        round.scored.sort { ($0.forecast.horizonAt, $0.forecast.id) < ($1.forecast.horizonAt, $1.forecast.id) }
        return round
    }

    private mutating func shrink() {
        guard self.chains.count > Self.pairLimit else { return }
        self.chains = self.chains.filter { $0.value.open != nil }
        if self.chains.count > Self.pairLimit { self.chains = [:] }
    }
}

extension ForecastBook.Chain {
    /// Scores the open forecast if its outcome was read.
    fileprivate mutating func score(
        _ outcomes: [String: ForecastBook.Outcome], _ round: inout ForecastBook.Round
    ) {
        guard let forecast = self.open, let outcome = outcomes[forecast.id] else { return }
        if let change = outcome.change {
            self.calibrator.learn(forecast, outcome: change)
            round.scored.append(
                ScoredForecast(
                    forecast: forecast,
                    score: ForecastScore(forecast, outcome: change, baseRate: outcome.baseRate)))
        } else {
            round.scored.append(ScoredForecast(forecast: forecast, score: nil))
        }
        self.open = nil
    }
}
