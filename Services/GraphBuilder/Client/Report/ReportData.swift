import Foundation
import Model

/// Everything the report says, as read from the public API.
struct ReportData: Encodable, Sendable {
    struct Domain: Codable, Sendable {
        var domain: String
        var nodes: Int
        var events: Int
        var observations: Int64?
        var bucketMs: Int64?
        var newestObservation: Timestamp?
        var lastEvaluated: Timestamp?
        var pendingBuckets: Int
    }

    struct LayerCount: Codable, Sendable {
        var layer: Layer
        /// Different edges in the stored graphs (at most 50 per event and layer).
        var edges: Int
        /// Pairs tested and accepted over all events; a pair of two events counts in both.
        var pairs: Int
        var accepted: Int
        /// Events whose layer is not `ok`, by state.
        var states: [String: Int]
    }

    struct Anomalies: Encodable, Sendable {
        /// Of the newest ones read.
        var read: Int
        var byKind: [String: Int]
        var top: [Anomaly]
    }

    struct Path: Codable, Sendable {
        struct Hop: Codable, Sendable {
            var from: NodeKey
            var to: NodeKey
            var layer: Layer
            var r: Double
            var confidence: Double
            var cumulativeLatencyMs: Double
        }
        struct Interval: Codable, Sendable {
            var low: Double
            var high: Double
        }
        var target: NodeKey
        var hops: [Hop]
        var confidence: Double
        var response: Double
        var impact: Double
        var impactInterval: Interval
        var latencyMs: Double
    }

    struct Propagation: Codable, Sendable {
        struct Shock: Codable, Sendable {
            var value: Double
            var basis: String
        }
        var source: NodeKey
        var shock: Shock?
        var reached: [Path]?
        var reason: String?
    }

    struct Share: Codable, Sendable {
        var value: Double
        var low: Double
        var high: Double
        var n: Int
    }

    struct ForecastSummary: Codable, Sendable {
        var forecasts: Int
        var scored: Int
        var coverage: Share?
        var signHitRate: Share?
        var baseRate: Double?
    }

    var domains: [Domain]
    var replays: [ReplaySummary]
    var layers: [LayerCount]
    var events: Int
    var strongest: [Edge]
    /// The strongest edges with a lag: who moves first.
    var leading: [Edge]
    var anomalies: Anomalies
    var propagation: Propagation?
    var forecasts: ForecastSummary
    var rootCauses: [RootCauseTrial.Result]
}
