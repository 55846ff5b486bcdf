import Engine
import Model

/// What was read of one node: whole buckets, sorted by time and then value.
struct NodeReadings: Sendable {
    var node: NodeID
    var readings: [Reading]
}
