import Model

/// What a run of evaluations wants stored, all of it in one fenced transaction.
struct EvaluationBatch: Sendable {
    struct Evaluation: Sendable {
        var shard: Shard
        var domain: String
        var windowEnd: Timestamp
        var bucketMs: Int64
        /// Time the evaluation took, microseconds.
        var durationUs: Int64
    }

    struct NodeScore: Sendable {
        var shard: Shard
        var node: NodeID
        var windowEnd: Timestamp
        /// Sum and parts, see `NodeResidual` of the engine.
        var score: Float
        var level: Float
        var seasonal: Float
        var innovation: Float
        var neighbour: Float
    }

    struct EventScore: Sendable {
        var shard: Shard
        var event: String
        var domain: String
        var windowEnd: Timestamp
        var score: Float
    }

    struct DetectorState: Sendable {
        var shard: Shard
        var domain: String
        var windowEnd: Timestamp
        var state: [UInt8]
    }

    var evaluations: [Evaluation] = []
    var nodeScores: [NodeScore] = []
    var eventScores: [EventScore] = []
    var findings: [Finding] = []
    var detectorStates: [DetectorState] = []
    /// Only the newest graph of an event is worth storing.
    var graphs: [String: CorrelationGraph] = [:]
    /// What these graphs were made from, by event.
    var recipes: [String: GraphRecipe] = [:]

    var isEmpty: Bool { self.evaluations.isEmpty && self.graphs.isEmpty && self.detectorStates.isEmpty }

    /// Shards the batch writes to, ascending.
    var shards: [Shard] {
        Set(
            self.evaluations.map(\.shard) + self.graphs.keys.map(Shard.init(event:))
                + self.detectorStates.map(\.shard)
        ).sorted()
    }

    /// Forgets everything of shards that are not ours any more.
    mutating func remove(_ shards: Set<Shard>) {
        self.evaluations.removeAll { shards.contains($0.shard) }
        self.nodeScores.removeAll { shards.contains($0.shard) }
        self.eventScores.removeAll { shards.contains($0.shard) }
        self.findings.removeAll { shards.contains(Shard(event: $0.event)) }
        self.detectorStates.removeAll { shards.contains($0.shard) }
        self.graphs = self.graphs.filter { !shards.contains(Shard(event: $0.key)) }
        self.recipes = self.recipes.filter { !shards.contains(Shard(event: $0.key)) }
    }
}

/// Shards whose lease belongs to somebody else by now: nothing was written.
struct StaleOwner: Error, Sendable {
    var shards: Set<Shard>
}
