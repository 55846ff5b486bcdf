import CLibpq
import Glibc
import Logging

/// Something a listener has to tell.
public enum PostgresNotification: Sendable, Hashable {
    /// LISTEN is in effect, at first or again after a lost connection: notifications before this may have been missed, so look
    /// at the tables. Behind a transaction pooler, where LISTEN does not work, it comes at intervals instead.
    case listening
    /// NOTIFY on the channel; the payload may be empty.
    case notified(channel: String, payload: String)
}

/// Listens on channels over a connection of its own, which is made anew with growing pauses when it breaks.
///
/// A notification is only a wake-up: after ``PostgresNotification/listening`` and at intervals of its own the receiver reads the
/// truth from the tables. Behind a transaction pooler LISTEN does not work: then ``PostgresNotification/listening`` comes once per
/// poll interval, and nothing else.
public struct PostgresListener: Sendable {
    private let configuration: PostgresConfiguration
    private let channels: [String]
    private let pollInterval: Duration
    private let logger: Logger

    /// - Parameters:
    ///   - channels: names of letters, digits and underscores.
    ///   - pollInterval: time between two looks at the tables behind a transaction pooler.
    public init(
        configuration: PostgresConfiguration, channels: [String], pollInterval: Duration = .seconds(1),
        logger: Logger = Logger(label: "postgres-listener")
    ) throws(PostgresError) {
        for channel in channels {
            guard !channel.isEmpty, channel.utf8.count <= 63,
                channel.utf8.allSatisfy({ (0x61...0x7A).contains($0) || (0x30...0x39).contains($0) || $0 == 0x5F })
            else { throw PostgresError(.configuration, detail: "channel \(channel) is not a plain name") }
        }
        self.configuration = configuration
        self.channels = channels
        self.pollInterval = pollInterval
        self.logger = logger
    }

    /// The notifications, until the task that iterates is cancelled. A slow receiver loses the oldest beyond 64; it still gets
    /// the newest, and one is as good as many.
    public func notifications() -> AsyncStream<PostgresNotification> {
        AsyncStream(bufferingPolicy: .bufferingNewest(64)) { continuation in
            let task = Task {
                await self.run { continuation.yield($0) }
                continuation.finish()
            }
            continuation.onTermination = { _ in task.cancel() }
        }
    }

    private func run(_ report: @Sendable (PostgresNotification) -> Void) async {
        guard !self.configuration.usesTransactionPooler else { return await self.poll(report) }
        let backoff = self.configuration.pool.backoff
        var pause = backoff.lowerBound
        while !Task.isCancelled {
            do {
                let connection = try await PostgresConnection.connect(self.configuration)
                let names = self.channels.map { "LISTEN \($0)" }.joined(separator: ";")
                try await connection.runScript(PostgresStatement(composed: names))
                report(.listening)
                pause = backoff.lowerBound
                while true { for note in try await connection.nextNotifications() { report(note) } }
            } catch {
                guard !Task.isCancelled else { return }
                self.logger.warning("listening broke off", metadata: ["error": "\(String(reflecting: error))"])
            }
            try? await Task.sleep(for: pause * Double.random(in: 0.5..<1))
            pause = min(pause * 2, backoff.upperBound)
        }
    }
}

extension PostgresListener {
    private func poll(_ report: @Sendable (PostgresNotification) -> Void) async {
        while !Task.isCancelled {
            report(.listening)
            // Replicas that started together must not ask together for ever.
            try? await Task.sleep(for: self.pollInterval * Double.random(in: 0.75...1))
        }
    }
}

extension PostgresConnection {
    /// Waits for at least one notification, until the task is cancelled.
    func nextNotifications() async throws(PostgresError) -> [PostgresNotification] {
        try await self.perform { session, operation throws(PostgresError) in
            try session.nextNotifications(&operation)
        }
    }
}

extension Session {
    fileprivate func nextNotifications(_ operation: inout Operation) throws(PostgresError) -> [PostgresNotification] {
        var notes: [PostgresNotification] = []
        while true {
            while let note = PQnotifies(self.pointer) {
                notes.append(
                    .notified(
                        channel: String(cString: note.pointee.relname), payload: String(cString: note.pointee.extra)))
                PQfreemem(note)
            }
            if !notes.isEmpty { return notes }
            try self.wait(for: POLLIN, &operation)
            if let reason = operation.stopReason { throw PostgresError(reason, detail: "while listening") }
            guard PQconsumeInput(self.pointer) == 1 else { throw self.lost("PQconsumeInput") }
        }
    }
}
