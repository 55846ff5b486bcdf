/// A lock by number that all processes on one database agree on. Held to the end of the transaction.
public struct AdvisoryLock: Sendable, Hashable {
    /// Class number of our locks, so that another program on the same database cannot meet them.
    static let space: Int32 = 0x5543
    let number: Int32

    public static let migrations = AdvisoryLock(number: 1)
    public static let partitions = AdvisoryLock(number: 2)

    /// A lock for a text, for example an idempotency key; different texts share a number once in 2^32.
    public init(of text: String) {
        // FNV-1a: the same in every process, which Swift's own hash is not.
        var hash: UInt32 = 2_166_136_261
        for byte in text.utf8 { hash = (hash ^ UInt32(byte)) &* 16_777_619 }
        self.number = Int32(bitPattern: hash)
        self.isText = true
    }

    private let isText: Bool

    private init(number: Int32) {
        self.number = number
        self.isText = false
    }

    /// Texts and the fixed locks above have separate spaces.
    var parameters: [PostgresValue] { [.int32(Self.space + (self.isText ? 1 : 0)), .int32(self.number)] }
}

extension PostgresConnection {
    /// Waits for the lock; it goes with the transaction.
    public func lock(_ lock: AdvisoryLock, deadline: ContinuousClock.Instant? = nil) async throws(PostgresError) {
        try await self.query("SELECT pg_advisory_xact_lock($1, $2)", lock.parameters, deadline: deadline)
    }

    /// - Returns: false when someone else holds it.
    public func tryLock(_ lock: AdvisoryLock) async throws(PostgresError) -> Bool {
        let rows = try await self.query("SELECT pg_try_advisory_xact_lock($1, $2)", lock.parameters)
        return try rows[0].decode(Bool.self, at: 0)
    }
}
