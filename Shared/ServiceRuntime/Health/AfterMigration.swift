import Logging
import ServiceLifecycle

/// Background work that begins once the schema is as new as the program. A program that is started before `migrate` has run, or
/// beside one that failed, must not take work from older programs that can do it.
public struct AfterMigration: Service {
    private let work: any Service
    private let schema: SchemaCheck
    private let logger: Logger
    private static let pause = Duration.milliseconds(500)

    public init(_ work: any Service, on host: ServiceHost) {
        self.work = work
        self.schema = host.schema
        self.logger = host.logger
    }

    public func run() async throws {
        guard await cancelWhenGracefulShutdown({ await self.wait() }) else { return }
        try await self.work.run()
    }

    /// - Returns: false when it is over before the schema is there.
    private func wait() async -> Bool {
        var hasSaidSo = false
        while !Task.isCancelled {
            guard let fault = await self.schema.fault() else { return true }
            if !hasSaidSo {
                self.logger.notice(
                    "waiting for the schema",
                    metadata: ["work": "\(type(of: self.work))", "reason": "\(fault)"])
            }
            hasSaidSo = true
            try? await Task.sleep(for: Self.pause)
        }
        return false
    }
}
