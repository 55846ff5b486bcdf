/// The text of one SQL statement with `$1` parameters.
///
/// Made from a literal, so a value cannot slip into the text by interpolation; ``init(composed:)`` is for texts built
/// from checked names and numbers of our own.
public struct PostgresStatement: Sendable, Hashable, ExpressibleByStringLiteral {
    let text: String
    /// Whether the server should keep its plan under a name, per connection.
    let isPrepared: Bool

    public init(stringLiteral value: String) {
        self.text = value
        self.isPrepared = true
    }

    /// For texts that are built at run time; never prepared by name, since there may be many of them.
    public init(composed text: String) {
        self.text = text
        self.isPrepared = false
    }

    private init(text: String, isPrepared: Bool) {
        self.text = text
        self.isPrepared = isPrepared
    }

    /// The same statement, parsed anew each time: for statements that run once.
    public var unprepared: PostgresStatement { PostgresStatement(text: self.text, isPrepared: false) }
}

/// One statement of a pipeline.
public struct PostgresQuery: Sendable, Hashable {
    public var statement: PostgresStatement
    public var parameters: [PostgresValue]

    public init(_ statement: PostgresStatement, _ parameters: [PostgresValue] = []) {
        self.statement = statement
        self.parameters = parameters
    }
}

/// The deadline of the request being served, inherited by everything its task does.
///
/// A service binds it once per request; every database wait, lease and statement below obeys the earlier of it and an
/// explicit deadline: `try await PostgresDeadline.$current.withValue(deadline) { ... }`.
public enum PostgresDeadline {
    @TaskLocal public static var current: ContinuousClock.Instant?

    /// What the server itself is told about each statement of the task: `statement_timeout` for single statements and for
    /// transactions begun in it.
    public struct Statement: Sendable, Hashable {
        public var limit: Duration
        /// Waited on the server before each statement or transaction, for trials of a slow database.
        public var delay: Duration?

        public init(limit: Duration, delay: Duration? = nil) {
            self.limit = limit
            self.delay = delay
        }

        var milliseconds: Int64 { min(max(1, self.limit.wholeMilliseconds), Int64(Int32.max)) }
        var delayQuery: PostgresQuery? {
            self.delay.map { PostgresQuery("SELECT pg_sleep($1)", [.double($0.inSeconds)]) }
        }
    }
    @TaskLocal public static var statement: Statement?

    static func earliest(_ deadline: ContinuousClock.Instant?) -> ContinuousClock.Instant? {
        switch (deadline, Self.current) {
        case (let first?, let second?): min(first, second)
        case (let first, let second): first ?? second
        }
    }
}
