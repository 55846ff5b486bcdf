import Model

/// The answer to a root-cause question: every candidate, best first, and why.
public struct RootCauseReport: Hashable, Sendable {
    /// Where the calls came from that blame walked down.
    public enum CallGraphOrigin: String, Sendable, Codable {
        /// The question brought a graph.
        case declared
        /// Call series among the nodes told it.
        case calls
        case none
    }

    /// One series that speaks for a candidate.
    public struct Witness: Hashable, Sendable, Codable {
        public let node: NodeKey
        /// Change held in the window, in units of the node's robust scale; negative: it fell.
        public let strength: Double
        /// ln(1 + strength^2 / 9).
        public let evidence: Double
    }

    /// Another event whose series point at the candidate.
    public struct Accuser: Hashable, Sendable, Codable {
        public enum Reason: String, Sendable, Codable {
            /// Its calls to the candidate changed for the worse.
            case slowCall
            /// Its load changed in a way the candidate, which calls it, does not explain by its own.
            case unexplainedLoad
            /// It is in trouble and calls the candidate: `evidence` is the share of all blame that it passed on.
            case passedBlame
            /// No calls are known: it waits for those it calls, and the candidate moved with it before.
            case suspectedCall
        }

        public let event: String
        public let reason: Reason
        public let evidence: Double
    }

    public struct Candidate: Hashable, Sendable {
        public let event: String
        /// What the ranking sorts by: `share` + 1e-6 (local + impact).
        public let score: Double
        /// Share of all blame that ended here, 0 ... 1.
        public let share: Double
        public let local: Double
        public let impact: Double
        public let loadResidual: Double
        /// Strongest first, at most ``RootCauseRanking/witnessLimit``.
        public let witnesses: [Witness]
        /// Strongest first within a reason, at most ``RootCauseRanking/witnessLimit``.
        public let accusers: [Accuser]
    }

    /// Best first; ties in order of declaration.
    public let candidates: [Candidate]
    public let callGraph: CallGraphOrigin
    /// Calls known between candidates.
    public let callCount: Int
    /// The largest local + impact: the gate. A ranking exists on a quiet system too; faults have about 4, quiet about 0.5.
    public let strength: Double
    /// Plain sentences that go with the ranking: what could not be found and how far to believe it.
    public let notes: [String]
}
