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
/// episode; `closeAfter` successive evaluated buckets below close it. The state depends on the findings alone, never on a
/// clock or on the replica, so replicas that read the same findings make the same episodes with the same ids.
public struct EpisodeTracker: Sendable, Codable, Equatable {
    public let openAfter: Int
    public let closeAfter: Int
    /// Subjects followed at a time; findings about further subjects are counted in `refused` and otherwise ignored.
    public let subjectLimit: Int
    /// Findings that were ignored because `subjectLimit` subjects were being followed.
    public private(set) var refused: Int
    /// End of the newest bucket taken in.
    public private(set) var windowEnd: Timestamp?
    private var runs: [FindingSubject: Run]

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

    public init(openAfter: Int = 3, closeAfter: Int = 3, subjectLimit: Int = 20_000) {
        precondition(openAfter > 0 && closeAfter > 0, "an episode takes at least one bucket to open and to close")
        precondition(subjectLimit > 0, "a tracker that may follow nothing finds nothing")
        self.openAfter = openAfter
        self.closeAfter = closeAfter
        self.subjectLimit = subjectLimit
        self.refused = 0
        self.runs = [:]
    }

    /// Subjects being followed, open or not.
    public var followedSubjects: Int { self.runs.count }

    /// The episodes open now, ordered by id.
    public var open: [Anomaly] {
        self.runs.values.compactMap(\.anomaly).sorted { $0.id < $1.id }
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
        guard let index = self.runs.index(forKey: subject) else {
            guard self.runs.count < self.subjectLimit else {
                self.refused += 1
                return
            }
            var run = Run(
                peak: finding, startedAt: windowEnd, lastBeyond: windowEnd, beyond: 1, below: 0, seen: windowEnd)
            if self.openAfter == 1 { Self.open(&run, at: windowEnd, changes: &changes) }
            self.runs[subject] = run
            return
        }
        // Two findings about one subject in one bucket count once; the stronger is kept.
        let repeated = self.runs.values[index].seen == windowEnd
        self.runs.values[index].seen = windowEnd
        self.runs.values[index].lastBeyond = windowEnd
        self.runs.values[index].below = 0
        if !repeated { self.runs.values[index].beyond += 1 }
        let isPeak = abs(finding.statistic) > abs(self.runs.values[index].peak.statistic)
        if isPeak { self.runs.values[index].peak = finding }
        if self.runs.values[index].anomaly != nil {
            guard isPeak else { return }
            Self.refresh(&self.runs.values[index])
            if let anomaly = self.runs.values[index].anomaly {
                changes.opened.removeAll { $0.id == anomaly.id }
                changes.updated.removeAll { $0.id == anomaly.id }
                if anomaly.openedAt == windowEnd {
                    changes.opened.append(anomaly)
                } else {
                    changes.updated.append(anomaly)
                }
            }
        } else if self.runs.values[index].beyond >= self.openAfter {
            Self.open(&self.runs.values[index], at: windowEnd, changes: &changes)
        }
    }

    /// Counts the bucket for every subject that was below.
    private mutating func settle(at windowEnd: Timestamp, changes: inout EpisodeChanges) {
        var finished: [FindingSubject] = []
        var index = self.runs.startIndex
        while index != self.runs.endIndex {
            defer { index = self.runs.index(after: index) }
            guard self.runs.values[index].seen != windowEnd else { continue }
            guard var anomaly = self.runs.values[index].anomaly else {
                finished.append(self.runs.keys[index])
                continue
            }
            self.runs.values[index].below += 1
            guard self.runs.values[index].below >= self.closeAfter else { continue }
            anomaly.closedAt = self.runs.values[index].lastBeyond
            changes.closed.append(anomaly)
            finished.append(self.runs.keys[index])
        }
        for subject in finished { self.runs[subject] = nil }
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

extension EpisodeTracker {
    /// Hex of the first 16 bytes of SHA-256 over kind, event, node, target and the start, joined by the byte 0x1F that no
    /// name may contain.
    public static func id(of subject: FindingSubject, startedAt: Timestamp) -> String {
        var parts = [subject.kind.rawValue, subject.event]
        for node in [subject.node, subject.target] {
            parts += node.map { [$0.domain, $0.event, $0.market, $0.venue] } ?? [""]
        }
        parts.append(String(startedAt.milliseconds))
        var hash = SHA256()
        for (index, part) in parts.enumerated() {
            if index > 0 { hash.update(data: [0x1F]) }
            hash.update(data: Array(part.utf8))
        }
        let digits = Array("0123456789abcdef")
        return String(hash.finalize().prefix(16).flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
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
