import Crypto
import Foundation
import Logging
import Model
import NIOCore
import Postgres
import Telemetry

/// Takes bodies of observations in, whatever carried them: decoding, bounds, idempotency, chunked commits, the answer.
final class IngestService: Sendable {
    struct Settings: Sendable, Hashable {
        /// Bytes of a body as sent.
        var bodyLimit = 32 << 20
        /// Bytes of a gzip body after inflation.
        var inflatedLimit = 256 << 20
        /// Lines of NDJSON per commit. A JSON array is one commit: it is valid as a whole or not at all.
        var linesPerCommit = 10_000
        /// Ingests running at once; each holds at most one body's array or one chunk of lines.
        var concurrency = 64
        /// Seconds an answer is kept under its idempotency key.
        var keyRetentionSeconds: Int64 = 86_400

        init() {}
    }

    /// What the carrier knows about a body before reading it.
    struct Head: Sendable {
        var format: BodyScanner.Format
        var isGzip = false
        var key: IdempotencyKey?
    }

    /// What to answer; `body` is JSON.
    struct Reply: Sendable, Hashable {
        var status: Int
        var body: [UInt8]
        var isReplayed = false
    }

    let settings: Settings
    let admission: IngestAdmission
    private let writer: IngestWriter
    private let nodes: NodeTable
    private let keys = KeysInFlight()
    private let metrics: IngestMetrics
    private let logger: Logger
    private let now: @Sendable () -> Timestamp

    /// - Parameter now: the wall clock; refuses times in the future, nothing else.
    init(
        pool: PostgresPool, notifier: IngestNotifier, partitions: ObservationPartitions = ObservationPartitions(),
        settings: Settings = Settings(), metrics: IngestMetrics = IngestMetrics(),
        logger: Logger = Logger(label: "ingest"),
        now: @escaping @Sendable () -> Timestamp = {
            Timestamp(milliseconds: WallClock.milliseconds())
        }
    ) {
        self.settings = settings
        self.admission = IngestAdmission(limit: settings.concurrency)
        self.nodes = NodeTable()
        self.writer = IngestWriter(
            pool: pool, partitions: partitions, nodes: self.nodes, notifier: notifier, metrics: metrics)
        self.metrics = metrics
        self.logger = logger
        self.now = now
    }

    /// What waits for a common transaction now.
    var waitingForCommit: (jobs: Int, rows: Int) { self.writer.waiting }

    /// Reads a body to its end and makes its valid observations durable.
    ///
    /// - Throws: `Problem` for everything a client can meet. After a failure in a later chunk of NDJSON the earlier chunks stay;
    ///   sending all of it again counts them as duplicates. An error of the body itself (client gone) is thrown as it is; the
    ///   chunk being read is dropped.
    @concurrent
    func ingest<Body: AsyncSequence & Sendable>(
        _ head: Head, body: Body
    ) async throws -> Reply where Body.Element == ByteBuffer {
        do throws(Problem) { try self.admission.enter() } catch {
            self.metrics.refusing()
            throw error
        }
        let clock = ContinuousClock()
        let start = clock.now
        defer { self.admission.leave(after: clock.now - start) }
        if let key = head.key {
            guard self.keys.begin(key) else { throw IdempotencyKey.inFlight }
        }
        defer { if let key = head.key { self.keys.end(key) } }
        do {
            var run = try IngestRun(
                head: head, settings: self.settings, nodes: self.nodes, now: self.now(), writer: self.writer)
            let reply = try await run.read(body)
            if reply.isReplayed { self.metrics.replay() }
            self.metrics.finished(rejected: run.rejected, duration: clock.now - start)
            return reply
        } catch let error as PostgresError {
            self.logger.warning("ingest failed", metadata: ["error": "\(String(reflecting: error))"])
            throw Self.problem(error)
        }
    }

    private static func problem(_ error: PostgresError) -> Problem {
        guard error.code == .limitReached else { return Problem(error) }
        return Problem(
            .invalidRequest, detail: "The times span more days than this installation keeps partitions for.")
    }

    /// Deletes answers older than their retention, a bounded number per call; for a service that calls it every few minutes.
    /// - Returns: how many were deleted.
    @discardableResult
    func purgeKeys(pool: PostgresPool) async throws -> Int {
        try await pool.query(IngestStatements.purgeKeys, [.int64(self.settings.keyRetentionSeconds)]).affectedRows
    }
}
