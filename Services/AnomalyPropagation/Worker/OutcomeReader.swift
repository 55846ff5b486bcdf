import Engine
import Foundation
import Model

/// Finds out how forecasts ended: the change of the target over (movedAt, horizonAt], in the units of its domain's series.
///
/// A value at a time is what a closed bucket that ends there holds: observations before it. Where series are levels or
/// differences the outcome is the change of the level, where they are log returns that of its logarithm. The base rate, how
/// often the target moved that way anyway over as long a time, is taken from 240 buckets before a point fixed by the data, so
/// every replica finds the same.
struct OutcomeReader: Sendable {
    /// Buckets a base rate is taken from, and the distance of the points at which it is taken anew.
    static let pastBuckets = 240
    static let anchorBuckets: Int64 = 60
    /// How far back a held value may lie at least.
    static let leastLookbackMs: Int64 = 86_400_000

    let observations: ObservationStore

    /// A forecast's target in the past before it: what base rates are remembered by.
    struct BaseRateKey: Hashable, Sendable {
        let target: NodeKey
        let anchorMs: Int64
        let bucketMs: Int64
        let horizonBuckets: Int
    }

    /// Shares of nonzero changes that went up; nil where nothing changed. Times go forward, so of each width of buckets only the
    /// newest two points are kept; should that be too much, nothing.
    struct BaseRates: Sendable {
        static let limit = 20_000
        fileprivate(set) var upShares: [BaseRateKey: Double?] = [:]
        /// Looked through whenever they have doubled.
        private var lookAt = 512

        fileprivate mutating func forgetOld() {
            guard self.upShares.count > self.lookAt else { return }
            var newest: [Int64: Int64] = [:]
            for key in self.upShares.keys { newest[key.bucketMs] = max(newest[key.bucketMs] ?? .min, key.anchorMs) }
            self.upShares = self.upShares.filter { key, _ in
                key.anchorMs >= (newest[key.bucketMs] ?? .min) - OutcomeReader.anchorBuckets * key.bucketMs
            }
            if self.upShares.count > Self.limit { self.upShares = [:] }
            self.lookAt = max(512, 2 * self.upShares.count)
        }
    }

    /// - Parameter bucketMs: of each target's domain.
    /// - Returns: by forecast id, one for each.
    func outcomes(
        of forecasts: [Forecast], profiles: [String: DomainProfile], remembering rates: inout BaseRates
    ) async throws -> [String: ForecastBook.Outcome] {
        guard !forecasts.isEmpty else { return [:] }
        rates.forgetOld()
        let readings = forecasts.flatMap { forecast -> [ObservationStore.Reading] in
            let profile = profiles[forecast.target.domain] ?? .undeclared(domain: forecast.target.domain)
            let bucketMs = Self.bucketMs(of: forecast)
            return [forecast.movedAt, forecast.horizonAt].map { time in
                ObservationStore.Reading(
                    node: forecast.target, at: time, lookbackMs: max(Self.leastLookbackMs, 120 * bucketMs),
                    fill: profile.fill, bucketMs: bucketMs)
            }
        }
        let values = try await self.observations.values(readings)
        try await self.fillRates(&rates, forecasts)
        var outcomes: [String: ForecastBook.Outcome] = [:]
        for (index, forecast) in forecasts.enumerated() {
            let transform = profiles[forecast.target.domain]?.transform ?? .level
            let change = Self.change(from: values[2 * index], to: values[2 * index + 1], transform: transform)
            let up = rates.upShares[Self.key(forecast)] ?? nil
            outcomes[forecast.id] = ForecastBook.Outcome(
                change: change, baseRate: up.map { forecast.expectedChange >= 0 ? $0 : 1 - $0 })
        }
        return outcomes
    }

    /// horizonAt = movedAt + latency, rounded up, + one bucket.
    static func bucketMs(of forecast: Forecast) -> Int64 {
        max(
            1,
            forecast.horizonAt.milliseconds - forecast.movedAt.milliseconds - Int64(forecast.latencyMs.rounded(.up)))
    }

    static func change(from past: Double?, to present: Double?, transform: DomainProfile.Transform) -> Double? {
        guard let past, let present else { return nil }
        let change: Double
        switch transform {
        case .level, .difference: change = present - past
        case .logReturn:
            guard past > 0, present > 0 else { return nil }
            change = log(present / past)
        }
        return change.isFinite ? change : nil
    }

    private static func key(_ forecast: Forecast) -> BaseRateKey {
        let bucketMs = Self.bucketMs(of: forecast)
        let step = bucketMs * Self.anchorBuckets
        let moved = forecast.movedAt.milliseconds
        let anchor = moved - ((moved % step) + step) % step
        let horizon = forecast.horizonAt.milliseconds - moved
        return BaseRateKey(
            target: forecast.target, anchorMs: anchor, bucketMs: bucketMs,
            horizonBuckets: max(1, Int((horizon + bucketMs - 1) / bucketMs)))
    }

    private func fillRates(_ rates: inout BaseRates, _ forecasts: [Forecast]) async throws {
        var keys: [BaseRateKey] = []
        for key in Set(forecasts.map(Self.key)) where rates.upShares[key] == nil { keys.append(key) }
        guard !keys.isEmpty else { return }
        let spans = keys.map {
            ObservationStore.Span(
                node: $0.target, end: Timestamp(milliseconds: $0.anchorMs), bucketMs: $0.bucketMs,
                length: Self.pastBuckets)
        }
        for (key, levels) in zip(keys, try await self.observations.levels(spans)) {
            let changes = (0..<max(0, levels.count - key.horizonBuckets)).map {
                levels[$0 + key.horizonBuckets] - levels[$0]
            }
            rates.upShares[key] = .some(ForecastScore.baseRate(expectedChange: 1, ofChanges: changes))
        }
    }
}
