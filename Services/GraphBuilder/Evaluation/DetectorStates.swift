import Engine
import Foundation
import Model

/// What the detectors of one shard and domain have learnt, by event. Stored at every ``interval``-th bucket, so that a new
/// owner evaluates again only what came after and goes on exactly as the old one would have.
struct DetectorStates: Sendable, Codable {
    /// Buckets between stored states.
    static let interval: Int64 = 240

    struct Event: Sendable, Codable {
        var links: LinkDetector
        var residual: NodeResidualDetector
        /// What the level of hidden edges has learnt; nil: nothing yet.
        var hiddenAlarms: LinkAlarms?
        /// Edges that stand, with the time they were accepted first.
        var standing: [Standing] = []
        /// The last Hayashi-Yoshida edges.
        var ticks: TickReader.Estimate?
    }

    struct Standing: Sendable, Codable {
        var source: NodeKey
        var target: NodeKey
        var estimator: Edge.Estimator
        var since: Timestamp
    }

    /// Under which they learnt: with another one they are of no use.
    var profile: DomainProfile
    var events: [String: Event] = [:]

    static func isDue(_ bucket: Int64, after previous: Int64?) -> Bool {
        guard let previous else { return false }
        return floorDivide(bucket, Self.interval) != floorDivide(previous, Self.interval)
    }

    func encoded() throws -> [UInt8] {
        let encoder = PropertyListEncoder()
        encoder.outputFormat = .binary
        return Array(try encoder.encode(self))
    }

    init(profile: DomainProfile) { self.profile = profile }

    /// - Throws: `DecodingError`, or `DetectorStateError` where what was decoded cannot have been learnt.
    init(encoded: [UInt8]) throws {
        self = try PropertyListDecoder().decode(DetectorStates.self, from: Data(encoded))
        for event in self.events.values {
            try event.links.validate()
            try event.residual.validate()
            try event.hiddenAlarms?.validate()
        }
    }
}
