import Engine
import Model

/// Makes forecasts from moves and scores them, pair by pair.
///
/// A pair has at most one open forecast at a time, so its history is a chain: forecast, outcome, forecast ... Which moves make
/// forecasts and when each comes to its horizon follows from the moves alone; only the intervals need outcomes. So a round goes
/// in three steps: ``plan(_:)`` finds the forecasts, ``due(_:)`` names the outcomes to be read (in one query), and
/// ``settle(_:)`` walks each chain in order. Where the target's domain is behind the source's, a forecast waits for the outcome of
/// the one before it. A value: the same moves and outcomes give the same forecasts in every replica, whenever each is read.
struct ForecastBook: Sendable {
    /// Pairs held in memory; beyond it those without an open forecast are forgotten and read again when they move.
    static let pairLimit = 20_000
    /// Forecasts of a pair that wait for the outcome of the one before; beyond it moves make none.
    static let waitingLimit = 32

    fileprivate struct Chain {
        var calibrator: ForecastCalibrator
        /// Made in an earlier round, not scored.
        var open: Forecast?
        /// Without intervals yet, in order of their moves.
        var planned: [Forecast] = []
    }

    private var chains: [ForecastPair: Chain] = [:]

    /// The forecasts moves could make, without intervals. Moves are findings of kind `move` in order of their window ends.
    static func candidates(_ moves: [Finding]) -> [Forecast] {
        moves.filter { $0.kind == .move }.flatMap { move in
            move.edges.compactMap { Forecast(of: $0, after: move, calibrator: nil) }
        }
    }

    /// Pairs of these candidates that are not in memory: their past must be given to ``restore(_:calibrators:open:)`` before ``plan(_:)``.
    func unknownPairs(in candidates: [Forecast]) -> [ForecastPair] {
        Set(candidates.map(ForecastPair.init)).filter { self.chains[$0] == nil }
            .sorted { ($0.source, $0.target) < ($1.source, $1.target) }
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
            let pair = ForecastPair(forecast)
            self.chains[pair]?.open = forecast
        }
    }

    /// Whether this book will score the forecast itself.
    func holds(_ forecast: Forecast) -> Bool {
        self.chains[ForecastPair(forecast)]?.open?.id == forecast.id
    }

    /// Forgets a pair, so that its past is read again: another replica has written to it.
    mutating func forget(_ forecast: Forecast) {
        self.chains[ForecastPair(forecast)] = nil
    }

    /// Chooses the forecasts that are made: none of a pair before its last one has come to its horizon.
    ///
    /// - Parameter candidates: of each pair in order of their moves; those that are known already change nothing.
    mutating func plan(_ candidates: [Forecast]) {
        for forecast in candidates {
            let pair = ForecastPair(forecast)
            guard var chain = self.chains[pair], chain.calibrator.isFree(at: forecast.movedAt)
            else { continue }
            chain.calibrator.pendingUntil = forecast.horizonAt
            chain.planned.append(forecast)
            self.chains[pair] = chain
        }
    }

    /// Forecasts that wait for the outcome of the one before, by the shard of their event. Given to ``plan(_:)`` of a fresh book
    /// before later moves, they go on there.
    var waiting: [Shard: [Forecast]] {
        var waiting: [Shard: [Forecast]] = [:]
        for chain in self.chains.values {
            for forecast in chain.planned { waiting[Shard(event: forecast.event), default: []].append(forecast) }
        }
        return waiting.mapValues { $0.sorted { ($0.movedAt, $0.id) < ($1.movedAt, $1.id) } }
    }

    /// Forecasts, open or planned, whose horizon the target's domain has passed, with the bucket width they were made on.
    func due(_ watermarks: [String: Timestamp]) -> [Forecast] {
        var due: [Forecast] = []
        for (pair, chain) in self.chains {
            guard let watermark = watermarks[pair.target.domain] else { continue }
            for forecast in [chain.open].compactMap({ $0 }) + chain.planned
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
            chain.score(outcomes, &round)
            while chain.open == nil, !chain.planned.isEmpty {
                let planned = chain.planned.removeFirst()
                let forecast = planned.withInterval(halfWidth: chain.calibrator.halfWidth(sourceSd: planned.sourceSd))
                round.made.append(forecast)
                chain.open = forecast
                chain.score(outcomes, &round)
            }
            if chain.planned.count > Self.waitingLimit {
                chain.planned.removeLast(chain.planned.count - Self.waitingLimit)
                chain.calibrator.pendingUntil = chain.planned.last?.horizonAt
            }
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
