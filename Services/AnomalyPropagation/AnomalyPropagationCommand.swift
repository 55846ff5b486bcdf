import ArgumentParser
import ServiceRuntime

/// Turns findings into anomalies and forecasts, and answers where a shock goes and where it came from.
@main
struct AnomalyPropagationCommand: AsyncParsableCommand {
    static let configuration = ServiceCommand<AnomalyPropagation>.configuration(adding: [ReadinessCommand.self])
}
