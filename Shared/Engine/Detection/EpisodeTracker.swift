import Crypto
import Model

/// What became of episodes at one evaluated bucket. Each list is ordered by id.
public struct EpisodeChanges: Sendable, Equatable {
    public var opened: [Anomaly] = []
    /// Open before and still open, with a new peak.
    public var updated: [Anomaly] = []
    public var closed: [Anomaly] = []

    public init() {}

    public var isEmpty: Bool { self.opened.isEmpty && self.updated.isEmpty && self.closed.isEmpty }
}

/// Turns the findings of successive evaluated buckets of one shard and domain into episodes.
///
/// A subject (kind, event, node, target) beyond its alarm level at `openAfter` successive evaluated buckets opens an
/// episode; `closeAfter` successive evaluated buckets below close it, an hour of them for node residuals, which flicker. The state depends on the findings alone, never on a
/// clock or on the replica, so replicas that read the same findings make the same episodes with the same ids.
public struct EpisodeTracker: Sendable {
    public let openAfter: Int
    public let closeAfter: Int
    /// Subjects followed at a time; findings about further subjects are counted in `refused` and otherwise ignored.
    public let subjectLimit: Int
    /// Findings that were ignored because `subjectLimit` subjects were being followed.
    public private(set) var refused: Int
    /// End of the newest bucket taken in.
    public private(set) var windowEnd: Timestamp?
    /// Runs lie side by side in no order, so that a bucket touches each in place and looks up only its findings.
    private var runs: [Run]
    private var positions: [FindingSubject: Int]

    /// One subject's way through the buckets.
    private struct Run: Sendable, Codable, Equatable {
        var peak: Finding
        var startedAt: Timestamp
        var lastBeyond: Timestamp
        var beyond: Int
        var below: Int
        var anomaly: Anomaly?
        var seen: Timestamp
    }

    /// - Precondition: all three are positive.
    public init(openAfter: Int = 3, closeAfter: Int = 3, subjectLimit: Int = 20_000) {
        precondition(openAfter > 0 && closeAfter > 0, "an episode takes at least one bucket to open and to close")
        precondition(subjectLimit > 0, "a tracker that may follow nothing finds nothing")
        self.openAfter = openAfter
        self.closeAfter = closeAfter
        self.subjectLimit = subjectLimit
        self.refused = 0
        self.runs = []
        self.positions = [:]
    }

    /// Subjects being followed, open or not.
    public var followedSubjects: Int { self.runs.count }

    /// The episodes open now, ordered by id.
    public var open: [Anomaly] {
        self.runs.compactMap(\.anomaly).sorted { $0.id < $1.id }
    }

    /// Takes in one evaluated bucket. `findings` holds every subject that was beyond its level; all others were below.
    ///
    /// A bucket that is not newer than the last one changes nothing, so a repeated delivery does no harm. Findings of kind
    /// `move` are no anomalies and are passed over.
    public mutating func advance(to windowEnd: Timestamp, findings: [Finding]) -> EpisodeChanges {
        if let last = self.windowEnd, windowEnd <= last { return EpisodeChanges() }
        self.windowEnd = windowEnd
        var changes = EpisodeChanges()
        for finding in findings where finding.kind != .move {
            self.note(finding, at: windowEnd, changes: &changes)
        }
        self.settle(at: windowEnd, changes: &changes)
        changes.opened.sort { $0.id < $1.id }
        changes.updated.sort { $0.id < $1.id }
        changes.closed.sort { $0.id < $1.id }
        return changes
    }

    private mutating func note(_ finding: Finding, at windowEnd: Timestamp, changes: inout EpisodeChanges) {
        let subject = finding.subject
        guard let position = self.positions[subject] else {
            guard self.runs.count < self.subjectLimit else {
                self.refused += 1
                return
            }
            var run = Run(
                peak: finding, startedAt: windowEnd, lastBeyond: windowEnd, beyond: 1, below: 0, seen: windowEnd)
            if self.openAfter == 1 { Self.open(&run, at: windowEnd, changes: &changes) }
            self.positions[subject] = self.runs.count
            self.runs.append(run)
            return
        }
        Self.absorb(finding, into: &self.runs[position], openAfter: self.openAfter, at: windowEnd, changes: &changes)
    }

    /// Two findings about one subject in one bucket count once; the stronger is kept.
    private static func absorb(
        _ finding: Finding, into run: inout Run, openAfter: Int, at windowEnd: Timestamp, changes: inout EpisodeChanges
    ) {
        if run.seen != windowEnd { run.beyond += 1 }
        run.seen = windowEnd
        run.lastBeyond = windowEnd
        run.below = 0
        let isPeak = abs(finding.statistic) > abs(run.peak.statistic)
        if isPeak { run.peak = finding }
        guard run.anomaly != nil else {
            if run.beyond >= openAfter { Self.open(&run, at: windowEnd, changes: &changes) }
            return
        }
        guard isPeak else { return }
        Self.refresh(&run)
        guard let anomaly = run.anomaly else { return }
        if anomaly.openedAt == windowEnd {
            changes.opened.removeAll { $0.id == anomaly.id }
            changes.opened.append(anomaly)
        } else {
            changes.updated.removeAll { $0.id == anomaly.id }
            changes.updated.append(anomaly)
        }
    }

    /// Counts the bucket for every subject that was below.
    private mutating func settle(at windowEnd: Timestamp, changes: inout EpisodeChanges) {
        var position = 0
        while position < self.runs.count {
            if self.runs[position].seen != windowEnd,
                Self.pass(&self.runs[position], closeAfter: self.closeAfter, changes: &changes)
            {
                self.drop(position)
            } else {
                position += 1
            }
        }
    }

    /// Puts the last run in the place of one that is over.
    private mutating func drop(_ position: Int) {
        self.positions[self.runs[position].peak.subject] = nil
        let last = self.runs.removeLast()
        guard position < self.runs.count else { return }
        self.positions[last.peak.subject] = position
        self.runs[position] = last
    }

    /// Successive evaluated buckets below that close an episode of a kind.
    static func bucketsToClose(_ kind: FindingKind, bucketMs: Int64, least: Int) -> Int {
        guard kind == .nodeResidual else { return least }
        return max(least, Int((Double(3_600_000) / Double(max(1, bucketMs))).rounded(.up)))
    }

    /// One bucket below; returns whether the run is over.
    private static func pass(_ run: inout Run, closeAfter: Int, changes: inout EpisodeChanges) -> Bool {
        guard run.anomaly != nil else { return true }
        run.below += 1
        let patience = Self.bucketsToClose(run.peak.kind, bucketMs: run.peak.bucketMs, least: closeAfter)
        guard run.below >= patience, var anomaly = run.anomaly else { return false }
        anomaly.closedAt = run.lastBeyond
        changes.closed.append(anomaly)
        return true
    }

    private static func open(_ run: inout Run, at windowEnd: Timestamp, changes: inout EpisodeChanges) {
        let peak = run.peak
        let anomaly = Anomaly(
            id: Self.id(of: peak.subject, startedAt: run.startedAt), kind: peak.kind, event: peak.event,
            node: peak.node,
            target: peak.target, layer: peak.layer, startedAt: run.startedAt, openedAt: windowEnd, closedAt: nil,
            severity: Self.severity(of: peak), peakStatistic: peak.statistic, level: peak.level, values: peak.values,
            reason: peak.reason)
        run.anomaly = anomaly
        changes.opened.append(anomaly)
    }

    private static func refresh(_ run: inout Run) {
        run.anomaly?.peakStatistic = run.peak.statistic
        run.anomaly?.level = run.peak.level
        run.anomaly?.values = run.peak.values
        run.anomaly?.reason = run.peak.reason
        run.anomaly?.severity = Self.severity(of: run.peak)
    }
}

extension EpisodeTracker: Codable, Equatable {
    private enum CodingKeys: String, CodingKey {
        case openAfter, closeAfter, subjectLimit, refused, windowEnd, runs
    }

    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        self.openAfter = try values.decode(Int.self, forKey: .openAfter)
        self.closeAfter = try values.decode(Int.self, forKey: .closeAfter)
        self.subjectLimit = try values.decode(Int.self, forKey: .subjectLimit)
        self.refused = try values.decode(Int.self, forKey: .refused)
        self.windowEnd = try values.decodeIfPresent(Timestamp.self, forKey: .windowEnd)
        self.runs = []
        self.positions = [:]
        func refuse(_ key: CodingKeys, _ rule: String) -> DecodingError {
            DecodingError.dataCorruptedError(forKey: key, in: values, debugDescription: rule)
        }
        let counts = DetectorStateError.counts
        guard self.openAfter > 0, self.closeAfter > 0, self.subjectLimit > 0, counts.contains(self.refused) else {
            throw refuse(.openAfter, "an episode takes at least one bucket to open and to close")
        }
        for (subject, run) in try values.decode([FindingSubject: Run].self, forKey: .runs) {
            guard run.peak.subject == subject, counts.contains(run.beyond), counts.contains(run.below) else {
                throw refuse(.runs, "a run is about its subject, for a number of buckets")
            }
            self.positions[subject] = self.runs.count
            self.runs.append(run)
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var values = encoder.container(keyedBy: CodingKeys.self)
        try values.encode(self.openAfter, forKey: .openAfter)
        try values.encode(self.closeAfter, forKey: .closeAfter)
        try values.encode(self.subjectLimit, forKey: .subjectLimit)
        try values.encode(self.refused, forKey: .refused)
        try values.encodeIfPresent(self.windowEnd, forKey: .windowEnd)
        try values.encode(self.positions.mapValues { self.runs[$0] }, forKey: .runs)
    }

    /// Whatever order the runs lie in.
    public static func == (left: Self, right: Self) -> Bool {
        left.openAfter == right.openAfter && left.closeAfter == right.closeAfter
            && left.subjectLimit == right.subjectLimit && left.refused == right.refused
            && left.windowEnd == right.windowEnd && left.runs.count == right.runs.count
            && left.positions.allSatisfy { subject, position in
                right.positions[subject].map { right.runs[$0] == left.runs[position] } ?? false
            }
    }
}

extension EpisodeTracker {
    /// Hex of the first 16 bytes of SHA-256 over kind, event, node, target and the start, joined by the byte 0x1F that no
    /// name may contain.
    public static func id(of subject: FindingSubject, startedAt: Timestamp) -> String {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(256)
        func add(_ part: String) {
            if !bytes.isEmpty { bytes.append(0x1F) }
            bytes.append(contentsOf: part.utf8)
        }
        add(subject.kind.rawValue)
        add(subject.event)
        for node in [subject.node, subject.target] {
            guard let node else {
                add("")
                continue
            }
            add(node.domain)
            add(node.event)
            add(node.market)
            add(node.venue)
        }
        add(String(startedAt.milliseconds))
        return Hex.text(SHA256.hash(data: bytes).prefix(16))
    }

    /// Findings about edges that carry `confidence` and `score` use the edge's composite severity. Others go by how far the
    /// statistic is beyond its level: CRITICAL from twice, HIGH from 1.5 times, MEDIUM from 1.2 times, else LOW.
    public static func severity(of finding: Finding) -> Severity {
        if finding.target != nil, let confidence = finding.values["confidence"], let score = finding.values["score"] {
            return Severity(confidence: confidence, score: score)
        }
        guard finding.level > 0 else { return .low }
        let ratio = abs(finding.statistic) / finding.level
        return ratio >= 2 ? .critical : ratio >= 1.5 ? .high : ratio >= 1.2 ? .medium : .low
    }
}
