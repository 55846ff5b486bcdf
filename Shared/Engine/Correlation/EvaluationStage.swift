/// What an evaluation is at. An engine has no clock: who wants to know how long each takes brings one.
public enum EvaluationStage: String, CaseIterable, Sendable {
    /// Series are cleaned, clipped, summed and packed.
    case prepare
    /// Products of all pairs in low precision.
    case screen
    /// Pairs that may pass are picked and computed in double precision.
    case settle
    /// Tests, ranks, explanations, edges.
    case assemble

    /// Called whenever the next stage begins; stages come more than once.
    public typealias Observer = (EvaluationStage) -> Void
}
