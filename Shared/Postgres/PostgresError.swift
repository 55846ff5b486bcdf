/// A failed database operation.
///
/// `description` is safe to send to a client. `debugDescription` carries the server's own words, which may quote data: for
/// logs only. Two errors are equal when code and SQLSTATE are.
public struct PostgresError: Error, Sendable {
    /// What went wrong, as far as a caller can act on it. Extensible: compare instead of switching exhaustively.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        public let description: String
        private init(_ description: String) { self.description = description }

        /// No connection can be made: server down, starting, shutting down, or no route.
        public static let unavailable = Code("unavailable")
        /// The connection broke during the operation. Whether a COMMIT in flight took effect is unknown.
        public static let connectionLost = Code("connection lost")
        /// The pool's queue is full, or no connection came free in time.
        public static let overloaded = Code("overloaded")
        /// The statement ran into its deadline and was stopped; nothing of it remains.
        public static let timeout = Code("timeout")
        /// The Swift task was cancelled; the statement was stopped and nothing of it remains.
        public static let cancelled = Code("cancelled")
        /// SQLSTATE 40001: concurrent transactions got in each other's way.
        public static let serialization = Code("serialization failure")
        /// SQLSTATE 40P01.
        public static let deadlock = Code("deadlock")
        /// SQLSTATE 55P03: a lock was not free within lock_timeout or under NOWAIT.
        public static let lockNotAvailable = Code("lock not available")
        /// SQLSTATE 23505.
        public static let uniqueViolation = Code("unique violation")
        /// Class 23 other than 23505: not null, check, foreign key; and rows for which no partition exists.
        public static let constraintViolation = Code("constraint violation")
        /// Class 22: a value the server cannot take.
        public static let invalidData = Code("invalid data")
        /// SQLSTATE 42P01 and relatives: a table, column or type is missing. The schema is older or newer than the program.
        public static let schemaMismatch = Code("schema mismatch")
        /// Class 42 otherwise: the statement is wrong.
        public static let invalidStatement = Code("invalid statement")
        /// Class 28 and 42501: credentials or rights.
        public static let forbidden = Code("forbidden")
        /// SQLSTATE 25006: a standby answered; a primary will come back.
        public static let readOnly = Code("read only")
        /// Class 53 and 58: disk full, memory, too many connections.
        public static let outOfResources = Code("out of resources")
        /// A prepared statement is gone or its plan is stale; the connection has forgotten it and a second try prepares anew.
        public static let staleStatement = Code("stale statement")
        /// A row does not have the type the program asked for.
        public static let malformedRow = Code("malformed row")
        /// A migration that was applied has been changed, or an unknown newer one is there.
        public static let migrationMismatch = Code("migration mismatch")
        /// A setting is wrong.
        public static let configuration = Code("configuration")
        /// A bound of ours would be exceeded, for example the number of partitions.
        public static let limitReached = Code("limit reached")
        /// Anything else the server refused.
        public static let other = Code("other")
    }

    /// What the caller should do about it.
    public enum Severity: String, Sendable, Hashable {
        /// The same transaction may succeed at once, on this or another connection.
        case retryNow
        /// The database needs time: wait ``retryAfterSeconds`` and try again.
        case retryLater
        /// The same input will fail again.
        case never
    }

    public let code: Code
    /// Five characters as the server sent them; nil when the error is ours or the network's.
    public let sqlState: String?
    /// Name of the violated constraint, when the server named one.
    public let constraint: String?
    /// Seconds to wait, when the thrower knows better than the default of the code.
    public let retryAfterHint: Double?
    let detail: String

    public init(
        _ code: Code, sqlState: String? = nil, constraint: String? = nil, retryAfterHint: Double? = nil, detail: String
    ) {
        self.code = code
        self.sqlState = sqlState
        self.constraint = constraint
        self.retryAfterHint = retryAfterHint
        self.detail = detail
    }

    /// An error the server reported.
    init(sqlState: String, constraint: String?, detail: String) {
        self.init(Code(sqlState: sqlState), sqlState: sqlState, constraint: constraint, detail: detail)
    }

    public var severity: Severity {
        switch self.code {
        case .serialization, .deadlock, .staleStatement, .connectionLost: .retryNow
        case .unavailable, .overloaded, .timeout, .lockNotAvailable, .readOnly, .outOfResources: .retryLater
        default: .never
        }
    }

    /// Seconds after which trying again makes sense; nil when it never does.
    public var retryAfterSeconds: Double? {
        switch self.severity {
        case .never: nil
        case .retryNow: self.retryAfterHint ?? 1
        case .retryLater: self.retryAfterHint ?? 2
        }
    }
}

extension PostgresError: Equatable {
    public static func == (left: Self, right: Self) -> Bool {
        left.code == right.code && left.sqlState == right.sqlState
    }
}

extension PostgresError: CustomStringConvertible, CustomDebugStringConvertible {
    public var description: String { "database: \(self.code)" }

    public var debugDescription: String {
        var text = "PostgresError(\(self.code)"
        if let sqlState { text += ", SQLSTATE \(sqlState)" }
        if let constraint { text += ", constraint \(constraint)" }
        return text + "): " + self.detail
    }
}
