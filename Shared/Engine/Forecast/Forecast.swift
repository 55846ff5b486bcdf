import Crypto
import Model

/// Who moves next, by how much, when and how surely, after an observed move.
public struct Forecast: Sendable, Hashable, Codable {
    /// Hex of the first 16 bytes of SHA-256 over source, target and the time of the move: the same in every replica.
    public var id: String
    public var event: String
    public var source: NodeKey
    public var target: NodeKey
    /// End of the bucket the source moved in.
    public var movedAt: Timestamp
    /// `movedAt` + latency + one bucket: the outcome is the target's change over (movedAt, horizonAt].
    public var horizonAt: Timestamp
    public var latencyMs: Double
    /// Source units.
    public var move: Double
    /// The source's noise level then, source units, above 0.
    public var sourceSd: Double
    /// Target units per source unit.
    public var beta: Double
    /// beta x move, target units.
    public var expectedChange: Double
    /// 80 % interval of the target's change; nil until 20 past moves of the pair have been scored.
    public var intervalLow: Double?
    public var intervalHigh: Double?
    /// The edge's confidence, 0 ... 1.
    public var confidence: Double

    public init(
        event: String, source: NodeKey, target: NodeKey, movedAt: Timestamp, horizonAt: Timestamp, latencyMs: Double,
        move: Double, sourceSd: Double, beta: Double, halfWidth: Double?, confidence: Double
    ) {
        self.id = Self.id(source: source, target: target, movedAt: movedAt)
        self.event = event
        self.source = source
        self.target = target
        self.movedAt = movedAt
        self.horizonAt = horizonAt
        self.latencyMs = latencyMs
        self.move = move
        self.sourceSd = sourceSd
        self.beta = beta
        self.expectedChange = beta * move
        self.intervalLow = halfWidth.map { beta * move - $0 }
        self.intervalHigh = halfWidth.map { beta * move + $0 }
        self.confidence = confidence
    }

    /// The same with an interval of this half width, target units; nil: without one.
    public func withInterval(halfWidth: Double?) -> Forecast {
        var forecast = self
        forecast.intervalLow = halfWidth.map { self.expectedChange - $0 }
        forecast.intervalHigh = halfWidth.map { self.expectedChange + $0 }
        return forecast
    }

    public static func id(source: NodeKey, target: NodeKey, movedAt: Timestamp) -> String {
        let digest = SHA256.hash(
            data: Array("\(source.id.rawValue)\u{1F}\(target.id.rawValue)\u{1F}\(movedAt.milliseconds)".utf8))
        return Hex.text(digest.prefix(16))
    }

    /// The forecast an edge makes of a move; nil for an undirected edge (lag 0), which never forecasts by itself.
    ///
    /// - Parameters:
    ///   - move: a finding of kind `move` about the edge's source.
    ///   - calibrator: what past forecasts of this pair taught, if any.
    public init?(of edge: Edge, after move: Finding, calibrator: ForecastCalibrator?) {
        guard edge.lagBuckets > 0, let size = move.values["move"], let sourceSd = move.values["sourceSd"], sourceSd > 0,
            size.isFinite, edge.expectedPropagation.isFinite, edge.latencyMs.isFinite
        else { return nil }
        let latencyMs = max(0, edge.latencyMs)
        self.init(
            event: move.event, source: edge.source, target: edge.target, movedAt: move.windowEnd,
            horizonAt: move.windowEnd.advanced(byMilliseconds: Int64(latencyMs.rounded(.up)) + move.bucketMs),
            latencyMs: latencyMs, move: size, sourceSd: sourceSd, beta: edge.expectedPropagation,
            halfWidth: calibrator?.halfWidth(sourceSd: sourceSd), confidence: edge.confidence)
    }

    /// The forecasts a move makes, one per directed edge it carries, strongest edge first. A pair whose last forecast has not
    /// come to its horizon makes none, so that scored outcomes never overlap.
    ///
    /// - Parameter calibrators: by pair; a pair's entry is made on its first forecast and marked as pending.
    public static func forecasts(
        after move: Finding, calibrators: inout [ForecastPair: ForecastCalibrator]
    ) -> [Forecast] {
        guard move.kind == .move else { return [] }
        var forecasts: [Forecast] = []
        for edge in move.edges {
            let pair = ForecastPair(source: edge.source, target: edge.target)
            var calibrator = calibrators[pair] ?? ForecastCalibrator()
            guard calibrator.isFree(at: move.windowEnd),
                let forecast = Forecast(of: edge, after: move, calibrator: calibrator)
            else { continue }
            calibrator.pendingUntil = forecast.horizonAt
            calibrators[pair] = calibrator
            forecasts.append(forecast)
        }
        return forecasts
    }
}

/// A source and the target its moves forecast.
public struct ForecastPair: Sendable, Hashable, Codable {
    public var source: NodeKey
    public var target: NodeKey

    public init(source: NodeKey, target: NodeKey) {
        self.source = source
        self.target = target
    }

    public init(_ forecast: Forecast) { self.init(source: forecast.source, target: forecast.target) }
}
