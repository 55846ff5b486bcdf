import ArgumentParser
import ServiceRuntime

@main
struct GatewayCommand: AsyncParsableCommand {
    static let configuration = ServiceCommand<GatewayService>.configuration(adding: [KeysCommand.self])
}
