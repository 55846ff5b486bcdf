import Engine
import Model
import NIOCore
import Synchronization

/// The current graphs of the events this replica owns, ready to be sent: one encoded body per event, revision and filter.
final class GraphStore: Sendable {
    /// A graph as it stands in memory.
    struct Entry: Sendable {
        var graph: CorrelationGraph
        /// The shard's revision it was committed under.
        var revision: Int64
        var publishedAt: ContinuousClock.Instant
        /// Of the event; found once, for it takes a hash.
        fileprivate var shard: Shard
    }

    /// About what a key and a tag take, so that tags alone are bounded, too.
    static let overhead = 512
    /// How long memory may be behind the database before it is not believed any more.
    static let tolerance = Duration.seconds(2)

    private struct State {
        var entries: [String: Entry] = [:]
        /// Newest revision of each shard that was published here, and since when the database is known to have a newer one.
        var revisions: [Shard: Int64] = [:]
        var behindSince: [Shard: ContinuousClock.Instant] = [:]
        var bodies: [BodyKey: Body] = [:]
        var bodyOrder: [BodyKey] = []
        var bodyBytes = 0
    }

    /// Names one encoded body: a graph and what a reader wants to see of it.
    struct BodyKey: Hashable, Sendable {
        /// Its id.
        var graph: String
        var revision: Int64
        var filter: GraphFilter
    }

    struct Body: Sendable {
        var entityTag: String
        /// nil: only the tag is known, because nobody has asked for more.
        var bytes: ByteBuffer?

        var count: Int { self.bytes?.readableBytes ?? 0 }
    }

    private let state = Mutex(State())
    /// Bytes of encoded bodies kept; the oldest go first.
    let bodyLimit: Int

    init(bodyLimit: Int = 64 << 20) { self.bodyLimit = bodyLimit }

    var bodyByteCount: Int { self.state.withLock { $0.bodyBytes } }
    var eventCount: Int { self.state.withLock { $0.entries.count } }

    /// What all graphs in memory say of their layers.
    var layerReports: [LayerReport] { self.state.withLock { $0.entries.values.flatMap(\.graph.layers) } }

    /// Takes graphs that were committed.
    func publish(_ graphs: [CorrelationGraph], revisions: [Shard: Int64], now: ContinuousClock.Instant = .now) {
        self.state.withLock { state in
            for (shard, revision) in revisions {
                state.revisions[shard] = revision
                state.behindSince[shard] = nil
            }
            for graph in graphs {
                let shard = Shard(event: graph.event)
                state.entries[graph.event] = Entry(
                    graph: graph, revision: revisions[shard] ?? 0, publishedAt: now, shard: shard)
            }
        }
    }

    /// Compares with what the database says.
    func observe(databaseRevisions: [Shard: Int64], now: ContinuousClock.Instant = .now) {
        self.state.withLock { state in
            for (shard, revision) in databaseRevisions {
                if let own = state.revisions[shard], own >= revision {
                    state.behindSince[shard] = nil
                } else if state.behindSince[shard] == nil {
                    state.behindSince[shard] = now
                }
            }
        }
    }

    /// Forgets shards that belong to others now.
    func remove(_ shards: Set<Shard>) {
        self.state.withLock { state in
            state.entries = state.entries.filter { !shards.contains(Shard(event: $0.key)) }
            for shard in shards {
                state.revisions[shard] = nil
                state.behindSince[shard] = nil
            }
        }
    }

    /// The graph of an event, unless memory is behind.
    func entry(_ event: String, now: ContinuousClock.Instant = .now) -> Entry? {
        self.state.withLock { state in
            guard let entry = state.entries[event] else { return nil }
            if let since = state.behindSince[entry.shard], now - since > Self.tolerance { return nil }
            return entry
        }
    }

    /// The graph of an event however old, for when nothing newer can be had.
    func lastKnown(_ event: String) -> Entry? { self.state.withLock { $0.entries[event] } }

    /// Empties the cache of encoded bodies; they are made again when asked for.
    func dropBodies() {
        self.state.withLock { state in
            state.bodies = [:]
            state.bodyOrder = []
            state.bodyBytes = 0
        }
    }

    func body(_ key: BodyKey) -> Body? { self.state.withLock { $0.bodies[key] } }

    func keep(_ body: Body, for key: BodyKey) {
        guard body.count <= self.bodyLimit / 4 else { return }
        self.state.withLock { state in
            if let known = state.bodies[key] {
                guard known.bytes == nil, body.bytes != nil else { return }
            } else {
                state.bodyOrder.append(key)
                state.bodyBytes += Self.overhead
            }
            state.bodies[key] = body
            state.bodyBytes += body.count
            var dropped = 0
            while state.bodyBytes > self.bodyLimit, dropped < state.bodyOrder.count {
                if let old = state.bodies.removeValue(forKey: state.bodyOrder[dropped]) {
                    state.bodyBytes -= old.count + Self.overhead
                }
                dropped += 1
            }
            state.bodyOrder.removeFirst(dropped)
        }
    }
}
