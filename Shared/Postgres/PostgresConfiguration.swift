import Foundation

/// How to reach PostgreSQL and how many connections to hold. Parsed and checked before anything connects.
public struct PostgresConfiguration: Sendable, Hashable {
    /// A libpq connection string: `postgres://user:password@host:5432/name?sslmode=verify-full`, several hosts with
    /// `target_session_attrs=read-write`, or `host=/run/postgresql dbname=undercurrent`. Secret.
    public var connectionString: String
    /// The file that connection string came from: read again for each new connection, so that a password can be rotated. What cannot
    /// be used there leaves the last text in force.
    public var connectionStringFile: String?
    /// Shown by `pg_stat_activity`.
    public var applicationName: String
    public var pool: Pool
    /// Time one connection attempt may take, all hosts together.
    public var connectTimeout: Duration
    /// Server-side bound of every statement that has no deadline of its own; nil leaves it to the server.
    public var statementTimeout: Duration?
    /// Prepared statements kept per connection; the oldest is dropped. 0 turns them off.
    public var preparedStatementLimit: Int
    /// True behind a pooler in transaction mode: no session settings, no named statements, no LISTEN.
    public var usesTransactionPooler: Bool

    /// Sizes and times of the pool.
    public struct Pool: Sendable, Hashable {
        /// Connections kept open even when idle, 0 ... maximum.
        public var minimum: Int
        /// Most connections ever open, 1 or more.
        public var maximum: Int
        /// Most callers waiting for a connection; the next one is refused at once.
        public var waiterLimit: Int
        /// Longest wait for a connection.
        public var leaseTimeout: Duration
        /// An idle connection beyond `minimum` is closed after this time.
        public var idleTimeout: Duration
        /// A connection older than this is closed when it comes back, so that fail-over and rebalancing are noticed.
        public var lifetime: Duration
        /// First and longest pause between attempts to connect while the server is away; doubled each time, with jitter.
        public var backoff: ClosedRange<Duration>

        public init(
            minimum: Int = 1, maximum: Int = 8, waiterLimit: Int = 256, leaseTimeout: Duration = .seconds(5),
            idleTimeout: Duration = .seconds(60), lifetime: Duration = .seconds(1_800),
            backoff: ClosedRange<Duration> = .milliseconds(50) ... .seconds(2)
        ) {
            self.minimum = minimum
            self.maximum = maximum
            self.waiterLimit = waiterLimit
            self.leaseTimeout = leaseTimeout
            self.idleTimeout = idleTimeout
            self.lifetime = lifetime
            self.backoff = backoff
        }
    }

    public init(
        connectionString: String, connectionStringFile: String? = nil, applicationName: String = "undercurrent",
        pool: Pool = Pool(),
        connectTimeout: Duration = .seconds(5), statementTimeout: Duration? = .seconds(30),
        preparedStatementLimit: Int = 256, usesTransactionPooler: Bool = false
    ) throws(PostgresError) {
        self.connectionString = connectionString
        self.connectionStringFile = connectionStringFile
        self.applicationName = applicationName
        self.pool = pool
        self.connectTimeout = connectTimeout
        self.statementTimeout = statementTimeout
        self.preparedStatementLimit = usesTransactionPooler ? 0 : preparedStatementLimit
        self.usesTransactionPooler = usesTransactionPooler
        try self.validate()
    }

    /// - Throws: ``PostgresError`` with code `.configuration`; its description never repeats the connection string.
    public func validate() throws(PostgresError) {
        func require(_ condition: Bool, _ rule: String) throws(PostgresError) {
            guard condition else { throw PostgresError(.configuration, detail: rule) }
        }
        try require(self.pool.maximum >= 1, "DATABASE_POOL_MAX must be at least 1")
        try require(
            (0...self.pool.maximum).contains(self.pool.minimum), "DATABASE_POOL_MIN must be 0 to DATABASE_POOL_MAX")
        try require(self.pool.waiterLimit >= 0, "the waiter limit must not be negative")
        try require(self.pool.leaseTimeout > .zero, "the lease timeout must be positive")
        try require(self.connectTimeout > .zero, "the connect timeout must be positive")
        try require(self.pool.backoff.lowerBound > .zero, "the back-off must be positive")
        try require(self.preparedStatementLimit >= 0, "the prepared statement limit must not be negative")
        if let problem = ConnectionString.problem(self.connectionString) {
            throw PostgresError(.configuration, detail: "DATABASE_URL cannot be used: \(problem)")
        }
    }

    /// What the next connection is made with.
    var currentConnectionString: String {
        guard let path = self.connectionStringFile, let text = Self.connectionString(file: path),
            ConnectionString.problem(text) == nil
        else { return self.connectionString }
        return text
    }

    /// The first line of a file that holds a connection string; nil when there is none.
    public static func connectionString(file path: String) -> String? {
        guard let data = FileManager.default.contents(atPath: path), data.count <= 16_384 else { return nil }
        let line = String(decoding: data, as: UTF8.self).split(whereSeparator: \.isNewline).first
        let text = line.map { $0.trimmingCharacters(in: .whitespaces) } ?? ""
        return text.isEmpty ? nil : text
    }

    /// The connection string with any password replaced: for `print-config` and logs.
    public var redactedConnectionString: String { ConnectionString.redacted(self.connectionString) }
}
