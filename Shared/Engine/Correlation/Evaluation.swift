import Model

/// Computes the graphs of events from series: screens all pairs, settles those that may pass, accepts by one rule.
public enum Evaluation {
    /// One evaluation per asked event, in ascending order of events. Pure and deterministic: equal input gives equal output
    /// on every machine, and an event's result does not depend on which other events are asked with it.
    public static func evaluate(_ input: EvaluationInput) -> [EventEvaluation] {
        Set(input.events).sorted().map { event in
            EventEvaluation(
                event: event,
                layers: Layer.allCases.map {
                    LayerReport(layer: $0, state: .failed, reason: "this version computes no layer")
                },
                accepted: [])
        }
    }
}
