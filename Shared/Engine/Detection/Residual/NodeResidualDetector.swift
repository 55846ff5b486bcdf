import Foundation
import Model

/// Scores the nodes of one event and domain against their own past and against what their neighbours predict.
///
/// Streaming: a bucket is scored from rows up to itself, by a model learnt from rows before it (``ResidualModel``,
/// ``ResidualLearner``) and learnt anew once a period from a bounded history. A bucket whose event score is beyond the guard
/// level (99.5 % of what was seen when the detector became ready) does not teach, unless half of its period or more is, so a
/// fault is not learnt as normal but a lasting change is.
///
/// Warm-up. With a period that fits four times into the history: scores are `provisional` (no daily profile) once the baseline
/// is full, and `ready` after four periods: the first two shape the profile, the next two are learnt from. Without a usable
/// period: `ready` once baseline and present are full. Only a ready detector has an alarm level and raises findings.
///
/// State: at most `historyBuckets` + one refresh of single-precision values a node (35 kB at 8,640), a profile, and order
/// statistics. It is a value and `Codable`; a decoded copy continues to the bit.
public struct NodeResidualDetector: Sendable, Hashable, Codable {
    /// Nodes of one event and domain that are covered; further ones are not scored.
    public static let nodeLimit = 512

    public let event: String
    public let domain: String
    public let settings: Settings
    public private(set) var nodes: [NodeKey]
    private var history: ResidualHistory
    private var model: ResidualModel?
    private var alarm: ResidualAlarm
    /// The last w rows: |z| of all components, and the joint distance.
    private var recentSizes: [[Double]]
    private var recentDistances: [Double]
    /// Buckets the history spans when the next model is due.
    private var learnAt: Int64
    /// Rows of the history, from the newest back, since the last model.
    private var rowsSinceLearning: Int
    /// Set once, when the detector becomes ready.
    private var guardLevel: Double?

    public init(event: String, domain: String, settings: Settings) {
        self.event = event
        self.domain = domain
        self.settings = settings
        self.nodes = []
        self.history = ResidualHistory(period: settings.usablePeriod)
        self.model = nil
        self.alarm = ResidualAlarm(budget: settings.budget)
        self.recentSizes = []
        self.recentDistances = []
        self.learnAt = Int64(settings.firstLearning)
        self.rowsSinceLearning = 0
        self.guardLevel = nil
    }

    public var state: NodeResidualScores.State {
        guard let model = self.model else { return .learning }
        return model.usesProfile || self.settings.usablePeriod == 0 ? .ready : .provisional
    }

    /// Takes in one closed bucket; one not newer than the last is answered as `learning` and changes nothing.
    ///
    /// - Parameters:
    ///   - nodes: the event's nodes of the domain, ascending. Nodes may be added from bucket to bucket, and may be missing.
    ///   - values: one per node, level scale (never differences), held over empty buckets; NaN before the first value.
    public mutating func observe(nodes: [NodeKey], values: [Double], windowEnd: Timestamp) -> NodeResidualScores {
        precondition(nodes.count == values.count, "one value per node")
        let bucket = Int64((Double(windowEnd.milliseconds) / Double(self.settings.bucketMs)).rounded(.down)) - 1
        if let last = self.history.buckets.last, bucket <= last {
            return NodeResidualScores(windowEnd: windowEnd, state: .learning)
        }
        self.admit(nodes)
        guard !self.nodes.isEmpty else { return NodeResidualScores(windowEnd: windowEnd, state: .learning) }
        self.history.append(self.arranged(nodes: nodes, values: values), bucket: bucket)
        self.rowsSinceLearning += 1
        let scores = self.score(windowEnd: windowEnd)
        self.learnIfDue(bucket: bucket)
        return scores
    }

    /// Makes columns for nodes seen for the first time.
    private mutating func admit(_ nodes: [NodeKey]) {
        let known = Set(self.nodes)
        let fresh = nodes.filter { !known.contains($0) }.prefix(Self.nodeLimit - self.nodes.count)
        guard !fresh.isEmpty else { return }
        let old = self.nodes
        self.nodes = (old + fresh).sorted()
        var number: [NodeKey: Int] = [:]
        for (index, node) in self.nodes.enumerated() { number[node] = index }
        self.history.insertColumns(at: fresh.compactMap { number[$0] }.sorted())
        if let columns = self.model?.columns { self.model?.columns = columns.compactMap { number[old[$0]] } }
    }

    private func arranged(nodes: [NodeKey], values: [Double]) -> [Double] {
        if nodes == self.nodes { return values }
        var value: [NodeKey: Double] = [:]
        for (node, one) in zip(nodes, values) { value[node] = one }
        return self.nodes.map { value[$0] ?? .nan }
    }

    private mutating func score(windowEnd: Timestamp) -> NodeResidualScores {
        var scores = NodeResidualScores(windowEnd: windowEnd, state: self.state)
        guard let model = self.model else { return scores }
        let seasonal = self.remember(row: self.history.count - 1, model: model)
        let k = model.count
        var smoothed = [Double](repeating: 0, count: 3 * k)
        for row in self.recentSizes { for index in smoothed.indices { smoothed[index] += row[index] } }
        let share = 1 / Double(self.recentSizes.count)
        for index in smoothed.indices { smoothed[index] *= share }
        let parts = model.surprises(of: smoothed)
        let totals = (0..<k).map { parts[$0] + parts[k + $0] + parts[2 * k + $0] }
        let neighbours = model.leaveOneOut(product: model.neighbours(of: seasonal).product)
        scores.nodes = (0..<k).map { index in
            NodeResidual(
                node: self.nodes[model.columns[index]], score: totals[index], level: parts[index],
                seasonal: parts[k + index], innovation: parts[2 * k + index], neighbour: neighbours[index])
        }
        let eventScore = model.eventScore(
            nodeScores: totals, meanDistance: self.recentDistances.reduce(0, +) / Double(self.recentDistances.count))
        scores.eventScore = eventScore
        guard scores.state == .ready else { return scores }
        if let guardLevel = self.guardLevel, eventScore > guardLevel { self.history.bar(row: self.history.count - 1) }
        scores.level = self.alarm.level
        let beyond = self.alarm.observe(totals)
        let newest = self.history.row(self.history.count - 1)
        for index in 0..<k where beyond[index] {
            scores.findings.append(
                self.finding(
                    scores.nodes[index], value: newest[model.columns[index]], level: scores.level ?? 0,
                    eventScore: eventScore, windowEnd: windowEnd))
        }
        return scores
    }

    /// Standardises one row of the history and keeps it among the recent ones; returns its signed z of S.
    private mutating func remember(row: Int, model: ResidualModel) -> [Double] {
        let values = self.history.row(row)
        let before = row > 0 ? self.history.row(row - 1) : [Double](repeating: .nan, count: values.count)
        let residual = model.usesProfile ? self.history.newest : values
        let previous = model.usesProfile ? self.history.previous : before
        return self.remember(values: values, residual: residual, previous: previous, model: model)
    }

    private mutating func remember(
        values: [Double], residual: [Double], previous: [Double], model: ResidualModel
    ) -> [Double] {
        let (sizes, seasonal) = model.standardise(
            values: model.columns.map { values[$0] }, residual: model.columns.map { residual[$0] },
            previous: model.columns.map { previous[$0] })
        self.recentSizes.append(sizes)
        self.recentDistances.append(model.neighbours(of: seasonal).distance)
        if self.recentSizes.count > model.smoothing {
            self.recentSizes.removeFirst()
            self.recentDistances.removeFirst()
        }
        return seasonal
    }

    private mutating func learnIfDue(bucket: Int64) {
        guard let oldest = self.history.buckets.first, bucket - oldest + 1 >= self.learnAt else { return }
        let settings = self.settings
        let span = bucket - oldest + 1
        let usesProfile = settings.usablePeriod > 0 && span >= Int64(settings.profileLearning)
        self.liftBars()
        let learner = ResidualLearner(
            history: self.history, usesProfile: usesProfile,
            first: max(0, self.history.count - settings.historyBuckets),
            smoothing: settings.smoothing, leastRows: usesProfile ? 2 * settings.usablePeriod : settings.baselineBuckets
        )
        self.alarm.settle(bucketMs: settings.bucketMs)
        self.rowsSinceLearning = 0
        if let outcome = learner.learn() {
            self.model = outcome.model
            if usesProfile || settings.usablePeriod == 0 {
                self.guardLevel = self.guardLevel ?? outcome.model.guardLevel
                self.alarm.learn(
                    nodeScores: outcome.nodeScores, count: outcome.model.count, bucketMs: settings.bucketMs)
            }
            self.replayRecent(outcome.model)
        }
        let dropped = max(0, self.history.count - settings.historyBuckets)
        self.history.dropOldest(dropped)
        let kept = bucket - (self.history.buckets.first ?? bucket) + 1
        self.learnAt = settings.nextLearning(after: kept)
    }

    /// A period most of which is beyond the guard level is the new normal and teaches after all.
    private mutating func liftBars() {
        let recent = self.history.barred.suffix(self.rowsSinceLearning)
        guard !recent.isEmpty, 2 * recent.count(where: { $0 }) >= recent.count else { return }
        self.history.clearBars(from: self.history.count - recent.count)
    }

    /// The last rows again, by the new model.
    private mutating func replayRecent(_ model: ResidualModel) {
        self.recentSizes = []
        self.recentDistances = []
        let width = self.history.width
        let count = self.history.count
        let residuals = model.usesProfile ? self.history.residuals() : self.history.values()
        for row in max(0, count - model.smoothing)..<count {
            let previous =
                row == 0
                ? [Double](repeating: .nan, count: width) : Array(residuals[(row - 1) * width..<row * width])
            _ = self.remember(
                values: self.history.row(row), residual: Array(residuals[row * width..<(row + 1) * width]),
                previous: previous, model: model)
        }
    }
}
