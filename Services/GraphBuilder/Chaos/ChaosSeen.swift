import Model

/// What was seen of a trial, sample by sample, and whether it is what was expected. A value that is told samples.
struct ChaosSeen: Sendable, Hashable, Encodable {
    /// One look at the replica.
    struct Sample: Sendable, Hashable {
        enum Read: Sendable, Hashable { case answered, timedOut, failed }

        /// What became of a read that needs the database, and how long it took.
        var read = Read.answered
        var readMs = 0
        /// Layers that graphs in memory say have failed, each with whether all of them say why.
        var failed: [Layer: Bool] = [:]
        /// Layers that `/health` complains of.
        var troubled: Set<Layer> = []
        /// Graphs in memory.
        var graphs = 0
        var isShedding = false
        /// nil: not compared.
        var compared: Compared?
    }

    /// Stored graphs of the same window end as before the trial, and how many of them have another id.
    struct Compared: Sendable, Hashable {
        var graphs: Int
        var differing: Int
    }

    var samples = 0
    /// Graphs in memory before the trial, and the fewest during it.
    let graphsBefore: Int
    var graphsAtLeast: Int
    /// Layers that a graph said had failed; those of them without a reason; those that `/health` complained of.
    var failedLayers: [Layer] = []
    var unexplainedLayers: [Layer] = []
    var troubledLayers: [Layer] = []
    var readsAnswered = 0
    var readsTimedOut = 0
    var readsFailed = 0
    /// The fastest and the slowest read that was answered while the trial went on.
    var fastestReadMs: Int?
    var slowestReadMs: Int?
    var wasShedding = false
    var recoveredAfterMs: Int?
    var graphsCompared = 0
    var graphsDiffering = 0

    init(graphsBefore: Int) {
        self.graphsBefore = graphsBefore
        self.graphsAtLeast = graphsBefore
    }

    /// A look while the trial goes on.
    mutating func during(_ sample: Sample) {
        self.samples += 1
        self.graphsAtLeast = min(self.graphsAtLeast, sample.graphs)
        self.noteLayers(sample)
        self.wasShedding = self.wasShedding || sample.isShedding
        switch sample.read {
        case .answered:
            self.readsAnswered += 1
            self.fastestReadMs = min(self.fastestReadMs ?? .max, sample.readMs)
            self.slowestReadMs = max(self.slowestReadMs ?? 0, sample.readMs)
        case .timedOut: self.readsTimedOut += 1
        case .failed: self.readsFailed += 1
        }
    }

    private mutating func noteLayers(_ sample: Sample) {
        self.failedLayers = Set(self.failedLayers).union(sample.failed.keys).sorted()
        self.unexplainedLayers = Set(self.unexplainedLayers).union(sample.failed.filter { !$0.value }.keys).sorted()
        self.troubledLayers = Set(self.troubledLayers).union(sample.troubled).sorted()
    }

    /// A look after its end. What it left behind shows for a while: circuits stay open.
    /// - Returns: whether all is as it was.
    mutating func afterwards(_ sample: Sample, afterMs: Int) -> Bool {
        self.samples += 1
        self.noteLayers(sample)
        if let compared = sample.compared {
            self.graphsCompared = compared.graphs
            self.graphsDiffering = compared.differing
        }
        let isBack =
            sample.read == .answered && sample.failed.isEmpty && sample.troubled.isEmpty && !sample.isShedding
            && sample.compared.map { $0.differing == 0 } ?? false
            && (self.graphsBefore == 0 || sample.graphs > 0)
        if isBack { self.recoveredAfterMs = afterMs }
        return isBack
    }

    /// What was not as expected, in words; empty when all was.
    /// - Parameter limitMs: QUERY_TIMEOUT_MS as the trial began.
    func faults(of plan: ChaosTrial.Plan, limitMs: Int) -> [String] {
        var faults: [String] = []
        switch plan.kind {
        case .layer, .allLayers: faults += self.layerFaults(Set(plan.layers))
        case .slowDatabase: faults += self.slowFaults(delayMs: plan.delayMs, limitMs: limitMs)
        case .memory:
            if !self.wasShedding { faults.append("building was never shed") }
            if self.graphsAtLeast < self.graphsBefore { faults.append("graphs were lost from memory") }
        // Neither lasts: what counts is that all comes back.
        case .connectionLoss, .workerKill: break
        }
        if self.recoveredAfterMs == nil {
            faults.append(
                self.graphsDiffering > 0
                    ? "\(self.graphsDiffering) of \(self.graphsCompared) graphs have another id than before"
                    : "it did not come back to what was before")
        }
        return faults
    }

    private func layerFaults(_ layers: Set<Layer>) -> [String] {
        guard self.graphsBefore > 0 else { return ["there was no graph in memory to look at"] }
        var faults: [String] = []
        func name(_ layers: some Sequence<Layer>) -> String { layers.sorted().map(\.code).joined(separator: ", ") }
        let silent = layers.subtracting(self.failedLayers)
        if !silent.isEmpty { faults.append("no graph said that \(name(silent)) failed") }
        let more = Set(self.failedLayers).subtracting(layers)
        if !more.isEmpty { faults.append("\(name(more)) failed as well") }
        if !self.unexplainedLayers.isEmpty {
            faults.append("graphs did not say why \(name(self.unexplainedLayers)) failed")
        }
        let unseen = layers.subtracting(self.troubledLayers)
        if !unseen.isEmpty { faults.append("/health did not name \(name(unseen))") }
        return faults
    }

    private func slowFaults(delayMs: Int, limitMs: Int) -> [String] {
        var faults: [String] = []
        if delayMs > limitMs {
            if self.readsAnswered > 0 { faults.append("\(self.readsAnswered) reads were not stopped at \(limitMs) ms") }
            if self.readsTimedOut == 0 { faults.append("no read was stopped at \(limitMs) ms") }
        } else if let fastest = self.fastestReadMs {
            if fastest < delayMs { faults.append("a read took only \(fastest) ms") }
        } else {
            faults.append("no read was answered")
        }
        if self.readsFailed > 0 { faults.append("\(self.readsFailed) reads failed otherwise") }
        if self.graphsAtLeast < self.graphsBefore { faults.append("graphs were lost from memory") }
        return faults
    }
}
