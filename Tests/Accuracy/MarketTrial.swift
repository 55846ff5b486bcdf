import Engine
import Foundation
import Model
import Recordings

/// What the engine says of two venues of one instrument.
struct MarketAnswer: Codable {
    var recording: String
    /// The first of both by name; a positive lag means that it moves first.
    var first: String
    var second: String
    var lagMs: Int64
    var lagLowMs: Int64
    var lagHighMs: Int64
    var rho: Double
    /// Lag with both venues exchanged.
    var reversedLagMs: Int64
    /// Streamed forecasts of the second venue after moves of the first, and the other way round.
    var forecasts: [ForecastAnswer]
}

struct ForecastAnswer: Codable {
    var source: String
    /// Made in the second half of the recording.
    var isHeldBack: Bool
    var score: ForecastScore
}

/// Asks who moves first, over a whole recording, and lets the product's forecasts run over it bucket by bucket.
struct MarketTrial {
    let set: RecordedSet

    init(_ set: RecordedSet) { self.set = set }

    /// One per file that holds exactly two venues of one instrument; other files have no known answer.
    func answers() throws -> [MarketAnswer] {
        try FileManager.default.contentsOfDirectory(atPath: self.set.folder.path).sorted()
            .filter { $0.hasSuffix(".csv.gz") }.compactMap(self.answer)
    }

    private func answer(_ name: String) throws -> MarketAnswer? {
        var ticks: [NodeKey: [Reading]] = [:]
        let reader = try RecordingReader(path: self.set.file(name))
        while let row = try reader.next() {
            ticks[row.node, default: []].append(Reading(timeMs: row.time.milliseconds, value: row.value))
            if ticks.count > 2 { return nil }
        }
        let nodes = ticks.keys.sorted()
        guard nodes.count == 2, nodes[0].event == nodes[1].event, nodes[0].market == nodes[1].market else { return nil }
        let profile = Self.profile(nodes[0].domain)
        let series = nodes.map { TickSeries(ticks[$0] ?? [], transform: profile.transform) }
        let options = MarketClock.options(profile)
        guard let forward = HayashiYoshida.estimate(series[0], series[1], options: options),
            let backward = HayashiYoshida.estimate(series[1], series[0], options: options, threshold: forward.threshold)
        else { return nil }
        return MarketAnswer(
            recording: name, first: nodes[0].venue, second: nodes[1].venue, lagMs: forward.lagMs,
            lagLowMs: forward.lagLowMs, lagHighMs: forward.lagHighMs, rho: forward.rho, reversedLagMs: backward.lagMs,
            forecasts: MarketClock(nodes: nodes, ticks: nodes.map { ticks[$0] ?? [] }, profile: profile).forecasts())
    }

    /// What `Samples/profiles/crypto.json` declares, whatever the domain is named.
    private static func profile(_ domain: String) -> DomainProfile {
        DomainProfile(
            domain: domain, bucketMs: MarketClock.bucketMs, presentBuckets: 720, baselineBuckets: 4_320, lagBuckets: 12,
            transform: .logReturn, periodMs: 0)
    }
}

/// Streams two venues through the product's estimators and forecasts; what is said at a bucket's end uses ticks before it.
struct MarketClock {
    static let bucketMs: Int64 = 5_000
    /// Buckets a base rate is taken from.
    static let pastBuckets = 240

    let nodes: [NodeKey]
    let profile: DomainProfile
    private let readings: [[Reading]]
    /// Log price of each node at the end of each bucket, held.
    private var prices: [[Double]] = []
    private let firstBucket: Int64

    static func options(_ profile: DomainProfile) -> HayashiYoshida.Options {
        .init(lagStepMs: Self.bucketMs / 5, lagLimitMs: Int64(profile.lagBuckets) * Self.bucketMs)
    }

    /// - Parameter ticks: of each node, oldest first, none empty.
    init(nodes: [NodeKey], ticks: [[Reading]], profile: DomainProfile) {
        self.nodes = nodes
        self.profile = profile
        self.readings = ticks
        let first = (ticks.compactMap { $0.first?.timeMs }.max() ?? 0) / Self.bucketMs
        let last = (ticks.compactMap { $0.last?.timeMs }.min() ?? 0) / Self.bucketMs
        self.firstBucket = first
        self.prices = ticks.map { ticks in
            var next = 0
            var held = Double.nan
            return (first...max(first, last)).map { bucket in
                while next < ticks.count, ticks[next].timeMs < (bucket + 1) * Self.bucketMs {
                    if ticks[next].value > 0 { held = log(ticks[next].value) }
                    next += 1
                }
                return held
            }
        }
    }

    func forecasts() -> [ForecastAnswer] {
        let detector = MoveDetector(
            transform: self.profile.transform, baselineBuckets: self.profile.baselineBuckets,
            leastBuckets: 3 * self.profile.presentBuckets)
        let interval = self.profile.presentBuckets / 4
        var calibrators: [ForecastPair: ForecastCalibrator] = [:]
        var pending: [Forecast] = []
        var edges: [Edge] = []
        var answers: [ForecastAnswer] = []
        for bucket in self.profile.presentBuckets..<max(self.profile.presentBuckets, self.prices[0].count) {
            if bucket % interval == 0 { edges = self.edges(at: bucket) }
            let now = self.end(bucket)
            for forecast in pending where forecast.horizonAt <= now {
                guard let outcome = self.change(forecast) else { continue }
                calibrators[ForecastPair(source: forecast.source, target: forecast.target)]?.learn(
                    forecast, outcome: outcome)
                answers.append(
                    ForecastAnswer(
                        source: forecast.source.venue,
                        isHeldBack: forecast.movedAt >= self.end(self.prices[0].count / 2),
                        score: ForecastScore(forecast, outcome: outcome, baseRate: self.baseRate(forecast))))
            }
            pending.removeAll { $0.horizonAt <= now }
            for move in detector.observe(block: self.block(at: bucket), event: self.nodes[0].event, edges: edges) {
                pending += Forecast.forecasts(after: move, calibrators: &calibrators)
            }
        }
        return answers
    }

    private func end(_ bucket: Int) -> Timestamp {
        Timestamp(milliseconds: (self.firstBucket + Int64(bucket) + 1) * Self.bucketMs)
    }

    private func edges(at bucket: Int) -> [Edge] {
        let end = self.end(bucket)
        let length = Int64(WindowShape(profile: self.profile).requiredLength)
        let start = end.milliseconds - length * Self.bucketMs
        var ticks: [NodeKey: TickSeries] = [:]
        for (node, readings) in zip(self.nodes, self.readings) {
            ticks[node] = TickSeries(
                readings.filter { start <= $0.timeMs && $0.timeMs < end.milliseconds },
                transform: self.profile.transform)
        }
        return TickWindow(
            ticks: ticks, options: Self.options(self.profile), bucketMs: Self.bucketMs, windowEnd: end
        ).edges()
    }

    private func block(at bucket: Int) -> SeriesBlock {
        let length = min(bucket, self.profile.baselineBuckets + 2)
        return SeriesBlock(
            nodes: self.nodes, bucketMs: Self.bucketMs, windowEnd: self.end(bucket), length: length,
            values: self.prices.flatMap { prices in
                (bucket - length + 1...bucket).map { prices[$0] - prices[$0 - 1] }
            })
    }

    private func price(_ target: NodeKey, at time: Timestamp) -> Double? {
        let bucket = Int(time.milliseconds / Self.bucketMs - self.firstBucket) - 1
        guard let node = self.nodes.firstIndex(of: target), self.prices[node].indices.contains(bucket) else {
            return nil
        }
        // Between two bucket ends the last tick before the time counts.
        let ticks = self.readings[node]
        var low = 0
        var high = ticks.count
        while low < high {
            let middle = (low + high) / 2
            if ticks[middle].timeMs < time.milliseconds { low = middle + 1 } else { high = middle }
        }
        return low > 0 && ticks[low - 1].value > 0 ? log(ticks[low - 1].value) : nil
    }

    private func change(_ forecast: Forecast) -> Double? {
        guard let before = self.price(forecast.target, at: forecast.movedAt),
            let after = self.price(forecast.target, at: forecast.horizonAt)
        else { return nil }
        return after - before
    }

    /// From the buckets before the move, over as many buckets as the horizon spans.
    private func baseRate(_ forecast: Forecast) -> Double? {
        guard let node = self.nodes.firstIndex(of: forecast.target) else { return nil }
        let moved = Int(forecast.movedAt.milliseconds / Self.bucketMs - self.firstBucket) - 1
        let horizon = max(
            1,
            Int((forecast.horizonAt.milliseconds - forecast.movedAt.milliseconds + Self.bucketMs - 1) / Self.bucketMs))
        let prices = self.prices[node]
        let first = max(0, moved - Self.pastBuckets)
        guard first + horizon <= moved else { return nil }
        return ForecastScore.baseRate(
            expectedChange: forecast.expectedChange,
            ofChanges: (first + horizon...moved).map { prices[$0] - prices[$0 - horizon] })
    }
}
