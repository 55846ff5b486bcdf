import Engine
import Foundation
import Model

/// The episodes of every shard and domain. A value: replicas that read the same findings hold the same book.
struct EpisodeBook: Sendable, Equatable {
    private var trackers: [Shard: [String: EpisodeTracker]] = [:]

    /// Takes in one evaluated bucket of a shard and domain; everything without a finding was below its level.
    mutating func advance(_ bucket: EvaluatedBucket, findings: [Finding]) -> EpisodeChanges {
        self.trackers[bucket.shard, default: [:]][bucket.domain, default: EpisodeTracker()]
            .advance(to: bucket.windowEnd, findings: findings)
    }

    /// Episodes open now.
    var openCount: Int { self.trackers.values.reduce(0) { $0 + $1.values.reduce(0) { $0 + $1.open.count } } }

    /// Findings that were passed over because too many subjects were being followed.
    var refusedCount: Int { self.trackers.values.reduce(0) { $0 + $1.values.reduce(0) { $0 + $1.refused } } }

    /// What ``restore(_:state:)`` needs to continue a shard from here.
    func state(of shard: Shard) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        return Array(try encoder.encode(self.trackers[shard] ?? [:]))
    }

    /// - Parameter state: empty for a shard that starts anew.
    mutating func restore(_ shard: Shard, state: [UInt8]) throws {
        self.trackers[shard] =
            state.isEmpty ? [:] : try JSONDecoder().decode([String: EpisodeTracker].self, from: Data(state))
    }
}
