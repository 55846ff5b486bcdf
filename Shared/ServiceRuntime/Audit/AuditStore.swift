import Model
import Postgres

/// The table `audit_log`: one partition a day, made ahead, dropped when it is older than the retention.
public struct AuditStore: Sendable {
    /// Rows written by one statement.
    public static let batchLimit = 2_000
    static let timeLimit = Duration.seconds(5)
    typealias Day = ObservationPartitions.Day

    static let insert: PostgresStatement = """
        INSERT INTO audit_log
            (at, last_at, count, service, kind, actor, credential, key_id, peer, action, status, code, trace_id)
        SELECT at, last_at, count, $13, kind, actor, credential, key_id, peer, action, status, code, trace_id
        FROM unnest($1::timestamptz[], $2::timestamptz[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[],
            $8::text[], $9::text[], $10::int[], $11::text[], $12::text[])
            AS t (at, last_at, count, kind, actor, credential, key_id, peer, action, status, code, trace_id)
        """
    static let partitions: PostgresStatement = """
        SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'audit_log'::regclass
        """
    static let page: PostgresStatement = """
        SELECT id, at, last_at, count, service, kind, actor, credential, key_id, peer, action, status, code, trace_id
        FROM audit_log WHERE at >= $1 AND at < $2 AND (at, id) < ($3, $4) ORDER BY at DESC, id DESC LIMIT $5
        """

    let pool: PostgresPool
    let service: String

    public init(pool: PostgresPool, service: String) {
        self.pool = pool
        self.service = service
    }

    /// - Throws: 23514 (`check_violation`) when a day has no partition; see ``upkeep(now:retentionDays:)``.
    func insert(_ rows: [AuditRow]) async throws {
        try await self.pool.query(
            Self.insert, Self.values(rows, service: self.service), deadline: .now + Self.timeLimit)
    }

    /// Writes one row within a transaction of the caller's: what a command does and that it did it belong together.
    public static func record(
        _ event: AuditEvent, service: String, on connection: PostgresConnection
    ) async throws {
        // A database that was restored into may be older than the log.
        guard try await connection.query("SELECT to_regclass('audit_log') IS NOT NULL").column(Bool.self) == [true]
        else { return }
        try await connection.lock(.partitions)
        let day = Day(containing: event.time)
        if try await !connection.query(Self.partitions).column(String.self).contains(Self.partition(day)) {
            try await Self.makePartition(day, on: connection)
        }
        try await connection.query(Self.insert, Self.values([AuditRow(event: event)], service: service))
    }

    private static func values(_ rows: [AuditRow], service: String) -> [PostgresValue] {
        func texts(_ path: KeyPath<AuditEvent, String>) -> PostgresValue {
            .textArray(rows.map { $0.event[keyPath: path] })
        }
        return [
            .timestampArray(rows.map(\.event.time)), .timestampArray(rows.map(\.lastTime)),
            .int64Array(rows.map { Int64($0.count) }), .textArray(rows.map(\.event.kind.rawValue)),
            texts(\.actor), texts(\.credential), texts(\.keyID), texts(\.peer), texts(\.action),
            .int32Array(rows.map { Int32(clamping: $0.event.status) }), texts(\.code), texts(\.traceID),
            .text(service),
        ]
    }

    /// Names and times are made from a number; nothing from outside can reach the text.
    private static func makePartition(_ day: Day, on connection: PostgresConnection) async throws {
        try await connection.runScript(
            PostgresStatement(
                composed: """
                    CREATE TABLE \(Self.partition(day)) PARTITION OF audit_log
                        FOR VALUES FROM ('\(day.start.rfc3339)') TO ('\(day.end.rfc3339)')
                    """))
    }

    /// Makes the partitions of yesterday to the day after tomorrow, and drops those that are too old.
    /// - Returns: how many were dropped.
    func upkeep(now: Timestamp, retentionDays: Int) async throws -> Int {
        let today = Day(containing: now)
        let wanted = (-1...2).map { Day(number: today.number + $0) }
        let oldest = Day(number: today.number - Int64(retentionDays))
        return try await self.pool.withTransaction(deadline: .now + Self.timeLimit) { connection in
            try await connection.lock(.partitions)
            let names = try await connection.query(Self.partitions).column(String.self)
            for day in wanted where !names.contains(Self.partition(day)) {
                try await Self.makePartition(day, on: connection)
            }
            let old = names.compactMap { Day(partition: $0, of: "audit_log") }.filter {
                $0 < oldest && !wanted.contains($0)
            }
            for day in old {
                try await connection.runScript(PostgresStatement(composed: "DROP TABLE \(Self.partition(day))"))
            }
            return old.count
        }
    }

    private static func partition(_ day: Day) -> String { day.partition(of: "audit_log") }

    /// A row as an administrator reads it.
    public struct Entry: Hashable, Sendable {
        public let id: Int64
        public let service: String
        public let kind: String
        public let row: AuditRow
    }

    /// The newest first.
    /// - Parameter before: the last entry of the page before.
    public func page(
        from: Timestamp, to: Timestamp, before: (time: Timestamp, id: Int64)?, limit: Int
    ) async throws -> [Entry] {
        let rows = try await self.pool.query(
            Self.page,
            [
                .timestamp(from), .timestamp(to), .timestamp(before?.time ?? to), .int64(before?.id ?? .max),
                .int(limit),
            ])
        return try rows.map(Self.entry)
    }

    private static func entry(_ row: PostgresRow) throws(PostgresError) -> Entry {
        let kind = try row.decode(String.self, at: 5)
        let event = AuditEvent(
            AuditEvent.Kind(rawValue: kind) ?? .security, actor: try row.decode(String.self, at: 6),
            credential: try row.decode(String.self, at: 7), keyID: try row.decode(String.self, at: 8),
            peer: try row.decode(String.self, at: 9), action: try row.decode(String.self, at: 10),
            status: Int(try row.decode(Int32.self, at: 11)), code: try row.decode(String.self, at: 12),
            traceID: try row.decode(String.self, at: 13), time: try row.decode(Timestamp.self, at: 1))
        return Entry(
            id: try row.decode(Int64.self, at: 0), service: try row.decode(String.self, at: 4), kind: kind,
            row: AuditRow(
                event: event, count: Int(try row.decode(Int64.self, at: 3)),
                lastTime: try row.decode(Timestamp.self, at: 2)))
    }
}
