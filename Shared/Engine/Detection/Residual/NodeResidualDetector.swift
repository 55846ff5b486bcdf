import Foundation
import Model

/// Scores the nodes of one event and domain against their own past and against what their neighbours predict.
///
/// Streaming: a bucket is scored by what earlier buckets taught and teaches afterwards; what was taught counts from the next
/// refresh on, once a period (``NodeMemory``, ``SurpriseTails``, ``JointDistance``). Buckets of a node in trouble teach little,
/// unless the trouble lasts for a period: a fault is not learnt as normal, a lasting change is.
///
/// Warm-up. With a usable period the first one shapes the profile, the second gives the units, the third is learnt from:
/// scores are `provisional` after three periods and `ready` after four. Without: the units come from half a baseline, and the
/// detector is `ready` once baseline and present are full. Only a ready detector raises findings.
///
/// State of a node: 8 bytes a phase of the period (12 kB for a day of minutes) and 7 kB of counts, whatever the memory. It is a
/// value and `Codable`; a decoded copy continues to the bit.
public struct NodeResidualDetector: Sendable, Hashable, Codable {
    /// Nodes of one event and domain that are covered; further ones are not scored.
    public static let nodeLimit = 512

    public let event: String
    public let domain: String
    public let settings: Settings
    public private(set) var nodes: [NodeKey]
    /// Of each node; nil before its first value.
    private var memories: [NodeMemory?]
    private var joint: JointDistance
    private var firstBucket: Int64?
    private var lastBucket: Int64?
    /// First bucket after which the next refresh is due.
    private var refreshAt: Int64
    private var isTaught: Bool

    public init(event: String, domain: String, settings: Settings) {
        self.event = event
        self.domain = domain
        self.settings = settings
        self.nodes = []
        self.memories = []
        self.joint = JointDistance()
        self.firstBucket = nil
        self.lastBucket = nil
        self.refreshAt = .max
        self.isTaught = false
    }

    /// What was read back from storage is used only where this does not throw.
    public func validate() throws(DetectorStateError) {
        try self.settings.validate()
        try DetectorStateError.require(
            self.nodes.count <= Self.nodeLimit && zip(self.nodes, self.nodes.dropFirst()).allSatisfy { $0 < $1 },
            "nodes", "ascending, no more than the limit")
        try DetectorStateError.require(self.memories.count == self.nodes.count, "memories", "one a node")
        try self.joint.validate(width: self.nodes.count)
        let times = [self.firstBucket, self.lastBucket, self.isTaught ? self.refreshAt : nil].compactMap { $0 }
        try DetectorStateError.require(
            times.allSatisfy(DetectorStateError.times.contains)
                && (self.firstBucket == nil) == (self.lastBucket == nil),
            "buckets", "both ends within reason")
        for memory in self.memories { try memory?.validate(settings: self.settings) }
    }

    /// What the next bucket's scores will be.
    public var state: NodeResidualScores.State {
        guard self.isTaught, let first = self.firstBucket, let last = self.lastBucket else { return .learning }
        return last - first + 1 >= Int64(self.settings.readyBuckets) ? .ready : .provisional
    }

    /// Takes in one closed bucket; one not newer than the last is answered as `learning` and changes nothing.
    ///
    /// - Parameters:
    ///   - nodes: the event's nodes of the domain, ascending. Nodes may be added from bucket to bucket, and may be missing.
    ///   - values: one per node, level scale (never differences), held over empty buckets; NaN before the first value.
    /// - Precondition: there are as many values as nodes.
    public mutating func observe(nodes: [NodeKey], values: [Double], windowEnd: Timestamp) -> NodeResidualScores {
        precondition(nodes.count == values.count, "one value per node")
        let bucket = Int64((Double(windowEnd.milliseconds) / Double(self.settings.bucketMs)).rounded(.down)) - 1
        if let last = self.lastBucket, bucket <= last {
            return NodeResidualScores(windowEnd: windowEnd, state: .learning)
        }
        self.admit(nodes)
        guard !self.nodes.isEmpty else { return NodeResidualScores(windowEnd: windowEnd, state: .learning) }
        if self.firstBucket == nil {
            self.firstBucket = bucket
            self.refreshAt = bucket + Int64(self.settings.firstRefresh) - 1
        }
        var scores = NodeResidualScores(windowEnd: windowEnd, state: self.state)
        self.lastBucket = bucket
        let values = self.arranged(nodes: nodes, values: values)
        self.pass(values, bucket: bucket, scores: &scores)
        if bucket >= self.refreshAt { self.refresh(after: bucket) }
        return scores
    }

    /// Makes columns for nodes seen for the first time.
    private mutating func admit(_ nodes: [NodeKey]) {
        guard nodes != self.nodes else { return }
        let known = Set(self.nodes)
        let fresh = nodes.filter { !known.contains($0) }.prefix(Self.nodeLimit - self.nodes.count)
        guard !fresh.isEmpty else { return }
        var old: [NodeKey: NodeMemory?] = [:]
        for (node, memory) in zip(self.nodes, self.memories) { old[node] = memory }
        self.nodes = (self.nodes + fresh).sorted()
        self.memories = self.nodes.map { old[$0] ?? nil }
        self.joint.insertColumns(at: self.nodes.indices.filter { !known.contains(self.nodes[$0]) })
    }

    private func arranged(nodes: [NodeKey], values: [Double]) -> [Double] {
        if nodes == self.nodes { return values }
        var value: [NodeKey: Double] = [:]
        for (node, one) in zip(nodes, values) { value[node] = one }
        return self.nodes.map { value[$0] ?? .nan }
    }

    /// Scores all nodes by what was learnt, then lets them learn.
    private mutating func pass(_ values: [Double], bucket: Int64, scores: inout NodeResidualScores) {
        var signed = [Double](repeating: 0, count: values.count)
        var steps = [NodeMemory.Step?](repeating: nil, count: values.count)
        var known = 0
        for node in values.indices {
            if self.memories[node] == nil, values[node].isFinite {
                self.memories[node] = NodeMemory(value: values[node], bucket: bucket, settings: self.settings)
            }
            steps[node] = self.memories[node]?.observe(values[node], bucket: bucket, settings: self.settings)
            guard let residual = steps[node]?.signed else { continue }
            signed[node] = residual
            known += 1
        }
        let company = self.joint.observe(signed, known: known, settings: self.settings)
        var judged: [(node: Int, scores: NodeMemory.Scores)] = []
        for node in values.indices {
            guard let step = steps[node] else { continue }
            let own = self.isTaught ? self.memories[node]?.scores(settings: self.settings) : nil
            self.memories[node]?.learn(step, score: own?.score, bucket: bucket, settings: self.settings)
            if let own { judged.append((node, own)) }
        }
        guard !judged.isEmpty else { return }
        let square = judged.reduce(0) { $0 + $1.scores.wide * $1.scores.wide } / Double(judged.count)
        let eventScore = log1p(square) + 0.5 * log1p(company.surprise)
        scores.eventScore = eventScore
        scores.nodes = judged.map { node, own in
            NodeResidual(
                node: self.nodes[node], score: own.score, level: own.level, seasonal: own.seasonal,
                innovation: own.innovation, neighbour: company.neighbours[node])
        }
        guard scores.state == .ready else { return }
        scores.level = ResidualAlarm.base
        for (place, one) in judged.enumerated() {
            self.watch(one.node, scores.nodes[place], eventScore: eventScore, scores: &scores)
        }
    }

    private mutating func watch(
        _ node: Int, _ residual: NodeResidual, eventScore: Double, scores: inout NodeResidualScores
    ) {
        guard let memory = self.memories[node] else { return }
        let level = memory.alarm.level
        guard self.memories[node]?.alarm.observe(residual.score, settings: self.settings) == true else { return }
        scores.findings.append(
            self.finding(
                residual, value: memory.value, level: level, eventScore: eventScore, windowEnd: scores.windowEnd))
    }

    private mutating func refresh(after bucket: Int64) {
        for node in self.memories.indices { self.memories[node]?.refresh(settings: self.settings) }
        self.joint.refresh(settings: self.settings)
        self.isTaught = true
        self.refreshAt = bucket + Int64(self.settings.refreshBuckets)
    }
}
