import Foundation
import Logging

/// Which lines are written, and how.
public struct LogSettings: Sendable {
    public var service: String
    public var level: Logger.Level
    public var format: LogFormat

    /// - Parameter format: nil chooses text when standard error is a terminal, else JSON.
    public init(service: String, level: Logger.Level = .info, format: LogFormat? = nil) {
        self.service = service
        self.level = level
        self.format = format ?? (isatty(STDERR_FILENO) == 1 ? .text : .json)
    }

    /// Makes every `Logger` of this process write our lines. Once per process.
    public func bootstrap() {
        let settings = self
        LoggingSystem.bootstrap(
            { label, provider in
                LineLogHandler(
                    label: label, service: settings.service, level: settings.level, format: settings.format,
                    metadataProvider: provider)
            }, metadataProvider: .trace)
    }
}
