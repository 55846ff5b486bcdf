import Logging
import Metrics
import Model
import Synchronization

/// Makes the daily partitions of `observations` that data needs: ahead of the insert, in transactions of their own, and only once
/// among all replicas.
public final class ObservationPartitions: Sendable {
    /// Days since 1970-01-01 in UTC; one partition each.
    public struct Day: Hashable, Comparable, Sendable {
        public let number: Int64
        static let lengthMs: Int64 = 86_400_000

        public init(number: Int64) { self.number = number }

        public init(containing time: Timestamp) {
            let quotient = time.milliseconds / Self.lengthMs
            self.number = time.milliseconds % Self.lengthMs < 0 ? quotient - 1 : quotient
        }

        public var start: Timestamp { Timestamp(milliseconds: self.number * Self.lengthMs) }
        public var end: Timestamp { Timestamp(milliseconds: (self.number + 1) * Self.lengthMs) }
        /// `observations_20260131`
        public var partition: String { self.partition(of: "observations") }

        /// The day's partition of a table: its name, `_`, and the date.
        public func partition(of table: String) -> String {
            "\(table)_" + self.start.rfc3339.prefix(10).filter { $0 != "-" }
        }

        public static func < (left: Self, right: Self) -> Bool { left.number < right.number }
    }

    /// Most partitions ever made: eleven years. More would slow the planner down, and are a sign of wrong times.
    public let limit: Int
    private let logger: Logger
    private let made: Counter
    private let failures: Counter
    private let present: Gauge
    private let room: Gauge
    /// Days known to have a partition.
    private let known = Mutex<Set<Day>>([])

    public init(
        limit: Int = 4_000, logger: Logger = Logger(label: "partitions"),
        factory: any MetricsFactory = MetricsSystem.factory
    ) {
        self.limit = limit
        self.logger = logger
        self.made = Counter(label: "observation_partitions_made_total", dimensions: [], factory: factory)
        self.failures = Counter(label: "observation_partition_failures_total", dimensions: [], factory: factory)
        self.present = Gauge(label: "observation_partitions", dimensions: [], factory: factory)
        self.room = Gauge(label: "observation_partitions_room", dimensions: [], factory: factory)
        self.room.record(limit)
    }

    /// Returns once every day has its partition; without a round trip when all are known.
    ///
    /// - Throws: `.limitReached` when there would be more than ``limit`` partitions; none of the missing ones is made then.
    public nonisolated(nonsending) func ensure(_ days: Set<Day>, pool: PostgresPool) async throws {
        let unknown = self.known.withLock { days.subtracting($0) }
        guard !unknown.isEmpty else { return }
        // A few days per transaction: each takes locks, and the server has room for some thousands.
        let ordered = unknown.sorted()
        for start in stride(from: 0, to: ordered.count, by: 64) {
            let slice = Set(ordered[start..<min(start + 64, ordered.count)])
            do {
                let present = try await pool.withRetriedTransaction { connection in
                    try await self.make(slice, of: unknown, on: connection)
                }
                self.known.withLock { $0.formUnion(present) }
                self.present.record(present.count)
                self.room.record(self.limit - present.count)
            } catch {
                self.failures.increment()
                throw error
            }
        }
    }

    private nonisolated(nonsending) func make(
        _ days: Set<Day>, of all: Set<Day>, on connection: PostgresConnection
    ) async throws -> Set<Day> {
        try await connection.lock(.partitions)
        let present = try await Self.present(on: connection)
        let wanted = all.subtracting(present).count
        guard present.count + wanted <= self.limit else {
            throw PostgresError(
                .limitReached, detail: "\(present.count) partitions, \(wanted) more would exceed \(self.limit)")
        }
        let missing = days.subtracting(present).sorted()
        guard let first = missing.first else { return present }
        for day in missing {
            try await connection.runScript(Self.creation(of: day))
            try await connection.runScript(Self.attachment(of: day))
        }
        self.made.increment(by: missing.count)
        self.logger.info("made partitions", metadata: ["first": "\(first.partition)", "count": "\(missing.count)"])
        return present.union(missing)
    }

    /// Forgets what is known: after a COPY failed because a partition had been retired meanwhile (SQLSTATE 23514).
    public func forgetAll() { self.known.withLock { $0.removeAll() } }

    // Names and times are made from a number; nothing from outside can reach the text.

    /// A table that is there already was detached and not dropped yet: it is attached again with what it holds.
    private static func creation(of day: Day) -> PostgresStatement {
        PostgresStatement(composed: "CREATE TABLE IF NOT EXISTS \(day.partition) (LIKE observations)")
    }

    /// Makes a table of its own the partition of its day. Attaching needs a weaker lock on `observations` than
    /// CREATE TABLE ... PARTITION OF: inserts and reads go on.
    public static func attachment(of day: Day) -> PostgresStatement {
        PostgresStatement(
            composed: """
                ALTER TABLE observations ATTACH PARTITION \(day.partition)
                    FOR VALUES FROM ('\(day.start.rfc3339)') TO ('\(day.end.rfc3339)')
                """)
    }

    /// Days that have a partition.
    public static func present(on connection: PostgresConnection) async throws -> Set<Day> {
        let names = try await connection.query(
            """
            SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = 'observations'::regclass
            """
        ).column(String.self)
        return Set(names.compactMap(Day.init(partition:)))
    }
}

extension ObservationPartitions.Day {
    /// The inverse of ``partition``; nil for any other name.
    public init?(partition: String) { self.init(partition: partition, of: "observations") }

    /// The inverse of ``partition(of:)``; nil for any other name.
    public init?(partition: String, of table: String) {
        let prefix = table + "_"
        let digits = partition.dropFirst(prefix.count)
        guard partition.hasPrefix(prefix), digits.count == 8, digits.allSatisfy(\.isNumber),
            let start = Timestamp(
                rfc3339: "\(digits.prefix(4))-\(digits.dropFirst(4).prefix(2))-\(digits.suffix(2))T00:00:00Z")
        else { return nil }
        self.init(containing: start)
    }
}
