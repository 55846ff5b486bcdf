import ArgumentParser
import Foundation
import Logging
import Postgres
import Telemetry

/// The sub-commands every service has. A service's main is
///
///     @main struct GraphBuilderCommand: AsyncParsableCommand {
///         static let configuration = ServiceCommand<GraphBuilder>.configuration(adding: [Replay.self])
///     }
public enum ServiceCommand<Definition: ServiceDefinition> {
    public static func configuration(adding own: [any ParsableCommand.Type] = []) -> CommandConfiguration {
        CommandConfiguration(
            commandName: Definition.name, abstract: Definition.summary, discussion: Self.discussion,
            version: BuildVersion.text,
            subcommands: [
                Serve.self, Migrate.self, CheckConfig.self, PrintConfig.self, Healthcheck.self, Version.self,
            ] + own,
            defaultSubcommand: Serve.self)
    }

    private static var discussion: String {
        """
        Settings come from the environment, then from the file named by CONFIG_FILE; both are read again on SIGHUP.

        Examples:
          \(Definition.name) check-config
          \(Definition.name) print-config --table
          CONFIG_FILE=/etc/undercurrent/\(Definition.name).yaml \(Definition.name) serve
          \(Definition.name) --generate-completion-script bash > /etc/bash_completion.d/\(Definition.name)

        Exit codes: 0 done or stopped in order; 1 failed; 64 wrong usage or configuration. Commands that have more name them in
        their own help.
        """
    }

    /// Settings, or the faults on standard error and exit code 64.
    public static func loadSettings() throws -> ServiceSettings {
        do { return try Definition.settingsLoader.load() } catch { throw Self.refuse(error) }
    }

    static func refuse(_ error: SettingsError) -> ExitCode {
        FileHandle.standardError.write(Data((error.description + "\n").utf8))
        return ExitCode(SettingsError.exitCode)
    }

    struct Serve: AsyncParsableCommand {
        static var configuration: CommandConfiguration {
            CommandConfiguration(commandName: "serve", abstract: "Run the service (the default).")
        }

        func run() async throws {
            let settings = try ServiceCommand.loadSettings()
            do {
                try await ServiceRunner<Definition>(settings: settings).run()
            } catch let error as SettingsError {
                throw ServiceCommand.refuse(error)
            } catch let error as ExitCode {
                throw error
            } catch {
                Logger(label: Definition.name).critical("stopped", metadata: ["error": "\(String(reflecting: error))"])
                throw ExitCode.failure
            }
        }
    }

    struct Migrate: AsyncParsableCommand {
        static var configuration: CommandConfiguration {
            CommandConfiguration(commandName: "migrate", abstract: "Bring the database schema up to date, then end.")
        }

        func run() async throws {
            let settings = try ServiceCommand.loadSettings()
            LogSettings(service: Definition.name, level: settings.logLevel, format: settings.logFormat).bootstrap()
            let logger = Logger(label: "migrate")
            do {
                let applied = try await Migrator(logger: logger).migrate(settings.database())
                print(applied.isEmpty ? "schema is up to date" : "applied migrations \(applied)")
            } catch {
                logger.critical("migration failed", metadata: ["error": "\(String(reflecting: error))"])
                throw ExitCode.failure
            }
        }
    }

    struct CheckConfig: ParsableCommand {
        static var configuration: CommandConfiguration {
            CommandConfiguration(commandName: "check-config", abstract: "Check the configuration, then end: 0 or 64.")
        }

        func run() throws {
            let settings = try ServiceCommand.loadSettings()
            do {
                _ = try settings.database()
                if let path = settings.optionalText("CALLER_TOKEN_SECRET_FILE") {
                    _ = try CallerTokenSecrets(path: path)
                }
            } catch let error as SettingsError {
                throw ServiceCommand.refuse(error)
            } catch {
                throw ServiceCommand.refuse(
                    SettingsError(faults: ["DATABASE_URL or the pool's bounds are not valid: \(error)"]))
            }
            print("the configuration is valid")
        }
    }

    struct PrintConfig: ParsableCommand {
        static var configuration: CommandConfiguration {
            CommandConfiguration(
                commandName: "print-config", abstract: "Show the configuration in force, without secrets.")
        }

        @Flag(help: "Print the table of all keys as Markdown instead.") var table = false

        func run() throws {
            print(
                self.table
                    ? Setting.markdown(Definition.settingsTable) : try ServiceCommand.loadSettings().rendered)
        }
    }

    struct Healthcheck: AsyncParsableCommand {
        static var configuration: CommandConfiguration {
            CommandConfiguration(
                commandName: "healthcheck", abstract: "Ask the running service's /readyz: 0 when ready, else 1.")
        }

        func run() async throws {
            let settings = try ServiceCommand.loadSettings()
            // The metrics listener speaks plain HTTP in every service, also where the public one is TLS.
            let host = ["0.0.0.0", "::", "*"].contains(settings.metricsHost) ? "127.0.0.1" : settings.metricsHost
            let answer = await ReadinessProbe(host: host, port: settings.metricsPort).ask()
            print(answer.text)
            guard answer.isReady else { throw ExitCode.failure }
        }
    }

    struct Version: ParsableCommand {
        static var configuration: CommandConfiguration {
            CommandConfiguration(commandName: "version", abstract: "Print version and commit.")
        }

        @Option(help: "table or json") var output = OutputFormat.table

        private struct Facts: Encodable {
            var service = Definition.name
            var version = BuildVersion.version
            var commit = BuildVersion.commit()
        }

        func run() throws {
            switch self.output {
            case .table: print("\(Definition.name) \(BuildVersion.text)")
            case .json: try OutputFormat.printJSON(Facts())
            }
        }
    }
}
