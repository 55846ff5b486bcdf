import ArgumentParser
import ServiceRuntime

@main struct GraphBuilderCommand: AsyncParsableCommand {
    static let configuration = ServiceCommand<GraphBuilder>.configuration(adding: [
        ReplayCommand.self, ReportCommand.self, VerifyCommand.self, SnapshotCommand.self,
    ])
}
