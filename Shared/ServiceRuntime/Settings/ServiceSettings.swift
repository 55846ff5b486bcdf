import Configuration
import Foundation
import Logging
import Postgres
import Telemetry

/// The checked configuration of one service: every value present here obeys its declared rule.
public struct ServiceSettings: Sendable {
    public let service: String
    /// The declared keys, in the order of the table.
    public let table: [Setting]
    let values: [String: String]
    /// Keys whose value came from the environment or the file.
    let given: Set<String>

    init(service: String, table: [Setting], values: [String: String], given: Set<String>) {
        self.service = service
        self.table = table
        self.values = values
        self.given = given
    }

    /// The value of a key without a default, or nil when it was not given.
    public func optionalText(_ name: String) -> String? {
        precondition(self.table.contains { $0.name == name }, "\(name) is not declared")
        return self.values[name]
    }

    /// The value of a key that is required or has a default.
    public func text(_ name: String) -> String {
        guard let value = self.optionalText(name) else { preconditionFailure("\(name) has neither value nor default") }
        return value
    }

    public func optionalInteger(_ name: String) -> Int? { self.optionalText(name).flatMap { Int($0) } }

    public func integer(_ name: String) -> Int {
        guard let value = Int(self.text(name)) else { preconditionFailure("\(name) is not declared as an integer") }
        return value
    }

    public func optionalNumber(_ name: String) -> Double? { self.optionalText(name).flatMap { Double($0) } }

    public func number(_ name: String) -> Double {
        guard let value = Double(self.text(name)) else { preconditionFailure("\(name) is not declared as a number") }
        return value
    }

    public func flag(_ name: String) -> Bool { self.text(name) == "true" }
    /// A key counted in seconds.
    public func seconds(_ name: String) -> Duration { .seconds(self.integer(name)) }
    /// A key counted in milliseconds.
    public func milliseconds(_ name: String) -> Duration { .milliseconds(self.integer(name)) }

    public var httpHost: String { self.text("HTTP_HOST") }
    public var httpPort: Int { self.integer("HTTP_PORT") }
    public var metricsHost: String { self.text("METRICS_HOST") }
    public var metricsPort: Int { self.integer("METRICS_PORT") }
    public var queryTimeout: Duration { self.milliseconds("QUERY_TIMEOUT_MS") }
    public var batchTimeout: Duration { self.milliseconds("BATCH_TIMEOUT_MS") }
    /// When a dependency that fails is left alone, and for how long.
    public var breaker: CircuitBreaker.Rule {
        CircuitBreaker.Rule(
            failures: self.integer("BREAKER_FAILURES"), window: self.seconds("BREAKER_WINDOW_SECONDS"),
            pause: self.seconds("BREAKER_PAUSE_SECONDS"))
    }
    public var profile: String { self.text("UNDERCURRENT_PROFILE") }
    public var shutdownGrace: Duration { self.seconds("SHUTDOWN_GRACE_SECONDS") }
    public var shutdownDrain: Duration { self.seconds("SHUTDOWN_DRAIN_SECONDS") }

    public var logLevel: Logger.Level { Logger.Level(rawValue: self.text("LOG_LEVEL")) ?? .info }
    /// nil: chosen by whether standard error is a terminal.
    public var logFormat: LogFormat? { LogFormat(rawValue: self.text("LOG_FORMAT")) }

    /// DATABASE_URL with the pool's bounds.
    public func database() throws(PostgresError) -> PostgresConfiguration {
        try PostgresConfiguration(
            connectionString: self.text("DATABASE_URL"),
            connectionStringFile: self.optionalText("DATABASE_URL_FILE"), applicationName: self.service,
            pool: PostgresConfiguration.Pool(
                minimum: self.integer("DATABASE_POOL_MIN"), maximum: self.integer("DATABASE_POOL_MAX")))
    }
}
