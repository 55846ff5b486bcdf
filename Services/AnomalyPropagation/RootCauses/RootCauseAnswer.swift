import Engine
import Foundation
import Model

/// The answer to a ``RootCauseQuestion``.
struct RootCauseAnswer: Encodable, Sendable {
    struct Candidate: Encodable, Sendable {
        let rank: Int
        let event: String
        let score: Double
        /// Share of all blame, 0 ... 1.
        let share: Double
        let local: Double
        let impact: Double
        let loadResidual: Double
        let witnesses: [RootCauseReport.Witness]
        let accusers: [RootCauseReport.Accuser]
        /// The reason in words.
        let reason: String
    }

    struct Period: Encodable, Sendable {
        let from: Timestamp
        let to: Timestamp
        let buckets: Int
    }

    /// Whether anything stands out at all.
    struct Gate: Encodable, Sendable {
        let strength: Double
        let quietStrength: Double
        let standsOut: Bool
    }

    let ranking: [Candidate]
    /// Name these, never the first alone.
    let top3: [String]
    let candidates: Int
    let callGraph: RootCauseReport.CallGraphOrigin
    let calls: Int
    let strength: Double
    let gate: Gate
    let notes: [String]
    let window: Period
    let baseline: Period
    let bucketMs: Int64
    let nodes: Int
    let observations: Int
    let domains: [String]

    init(
        _ report: RootCauseReport, question: RootCauseQuestion, input: RootCauseInput, baselineFrom: Timestamp,
        baselineTo: Timestamp, bucketMs: Int64, observations: Int, domains: [String]
    ) {
        self.ranking = report.candidates.prefix(question.limit).enumerated().map { index, candidate in
            Candidate(
                rank: index + 1, event: candidate.event, score: candidate.score, share: candidate.share,
                local: candidate.local, impact: candidate.impact, loadResidual: candidate.loadResidual,
                witnesses: candidate.witnesses, accusers: candidate.accusers, reason: Self.reason(candidate))
        }
        self.top3 = report.candidates.prefix(3).map(\.event)
        self.candidates = report.candidates.count
        self.callGraph = report.callGraph
        self.calls = report.callCount
        self.strength = report.strength
        self.gate = Gate(
            strength: report.strength, quietStrength: RootCauseRanking.quietStrength,
            standsOut: report.strength >= RootCauseRanking.quietStrength)
        self.notes = report.notes
        self.window = Period(from: question.from, to: question.to, buckets: input.windowLength)
        self.baseline = Period(from: baselineFrom, to: baselineTo, buckets: input.baselineLength)
        self.bucketMs = bucketMs
        self.nodes = input.nodes.count
        self.observations = observations
        self.domains = domains
    }

    static func reason(_ candidate: RootCauseReport.Candidate) -> String {
        var parts: [String] = []
        for witness in candidate.witnesses.prefix(2) where witness.evidence > 0 {
            let name =
                witness.node.event == candidate.event
                ? "\(witness.node.market) (\(witness.node.venue))" : "\(witness.node.event) \(witness.node.market)"
            let size = String(format: "%.1f", abs(witness.strength))
            parts.append("\(name) \(witness.strength < 0 ? "fell" : "rose") by \(size) of its scales")
        }
        if let accuser = candidate.accusers.first {
            switch accuser.reason {
            case .slowCall: parts.append("calls from \(accuser.event) to it changed for the worse")
            case .unexplainedLoad: parts.append("the load of \(accuser.event), which it calls, changed unlike its own")
            case .suspectedCall:
                parts.append("\(accuser.event) waits for what it calls, and may be calling it")
            case .passedBlame: parts.append("\(accuser.event) is in trouble and calls it")
            }
        }
        return parts.isEmpty ? "nothing of its own stands out" : parts.joined(separator: "; ")
    }
}
