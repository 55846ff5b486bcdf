import Model
import Postgres

/// The table `api_keys`. Holds no state: every method is one statement.
struct APIKeyStore: APIKeyLookup {
    /// A look-up waits no longer than this: with it a revocation is in force everywhere within five seconds.
    static let lookupLimit = Duration.milliseconds(900)
    /// Keys listed at once.
    static let listLimit = 1_000

    private let run:
        @Sendable (PostgresStatement, [PostgresValue], ContinuousClock.Instant?) async throws -> PostgresRows

    init(pool: PostgresPool) { self.run = { try await pool.query($0, $1, deadline: $2) } }

    /// Within a transaction, or for as long as the connection is lent.
    init(connection: PostgresConnection) { self.run = { try await connection.query($0, $1, deadline: $2) } }

    static let select: PostgresStatement = """
        SELECT id, secret_hash, caller, scopes, expires_at, revoked_at, created_at FROM api_keys WHERE id = $1
        """
    static let list: PostgresStatement = """
        SELECT id, secret_hash, caller, scopes, expires_at, revoked_at, created_at FROM api_keys
        WHERE id > $1 ORDER BY id LIMIT $2
        """
    static let insert: PostgresStatement = """
        INSERT INTO api_keys (id, secret_hash, caller, scopes, expires_at) VALUES ($1, $2, $3, $4, $5)
        RETURNING created_at
        """
    static let revoke: PostgresStatement = """
        UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1
        """

    /// One statement, so that there is never neither key. The new one lives as long as the old one was to live.
    static let rotate: PostgresStatement = """
        WITH old AS (
            SELECT id, caller, scopes, expires_at, created_at FROM api_keys
            WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) FOR UPDATE
        ), ended AS (
            UPDATE api_keys SET expires_at = least(api_keys.expires_at, now() + make_interval(secs => $4))
            FROM old WHERE api_keys.id = old.id
        )
        INSERT INTO api_keys (id, secret_hash, caller, scopes, expires_at)
        SELECT $2, $3, caller, scopes,
            CASE WHEN $5::integer IS NULL THEN now() + (expires_at - created_at) ELSE now() + make_interval(days => $5) END
        FROM old
        RETURNING id, secret_hash, caller, scopes, expires_at, revoked_at, created_at
        """

    func find(id: String) async throws -> APIKeyRecord? {
        let rows = try await self.run(Self.select, [.text(id)], ContinuousClock.now + Self.lookupLimit)
        return try rows.first.map(Self.record)
    }

    /// Keys in the order of their ids, after `after`.
    func list(after: String = "", limit: Int = APIKeyStore.listLimit) async throws -> [APIKeyRecord] {
        try await self.run(Self.list, [.text(after), .int(limit)], nil).map(Self.record)
    }

    func insert(_ key: APIKeyText, for request: NewAPIKey, now: Timestamp) async throws -> APIKeyRecord {
        let expiresAt = request.expiresAt(now: now)
        let rows = try await self.run(
            Self.insert,
            [
                .text(key.id), .bytea(key.secretHash), .text(request.caller),
                .textArray(request.scopes.map(\.rawValue).sorted()), .optional(expiresAt) { .timestamp($0) },
            ], nil)
        let created: [Timestamp] = try rows.column()
        return APIKeyRecord(
            id: key.id, secretHash: key.secretHash, caller: request.caller, scopes: request.scopes,
            expiresAt: expiresAt, revokedAt: nil, createdAt: created.first ?? now)
    }

    /// Makes `key` in place of a valid one, which stays valid for the grace.
    /// - Returns: nil when there is no valid key of this id.
    func rotate(id: String, to key: APIKeyText, _ rotation: KeyRotation) async throws -> APIKeyRecord? {
        let rows = try await self.run(
            Self.rotate,
            [
                .text(id), .text(key.id), .bytea(key.secretHash), .double(Double(rotation.graceSeconds)),
                .optional(rotation.expiresInDays) { .int32(Int32($0)) },
            ], nil)
        return try rows.first.map(Self.record)
    }

    /// - Returns: whether there is such a key. Revoking twice changes nothing.
    func revoke(id: String) async throws -> Bool {
        try await self.run(Self.revoke, [.text(id)], nil).affectedRows == 1
    }

    private static func record(_ row: PostgresRow) throws(PostgresError) -> APIKeyRecord {
        let (id, hash, caller, scopes, expiresAt, revokedAt, createdAt) = try row.decode(
            (String, [UInt8], String, [String], Timestamp?, Timestamp?, Timestamp).self)
        return APIKeyRecord(
            id: id, secretHash: hash, caller: caller, scopes: Set(scopes.compactMap(Scope.init(rawValue:))),
            expiresAt: expiresAt, revokedAt: revokedAt, createdAt: createdAt)
    }
}

/// How an API key is replaced: checked.
struct KeyRotation: Hashable, Sendable {
    static let longestGraceSeconds = 30 * 86_400
    static let usualGraceSeconds = 86_400

    /// How long the old key stays valid beside the new one; 0 ... 2,592,000.
    let graceSeconds: Int
    /// 1 ... 3,650; nil: as many as the old one had.
    let expiresInDays: Int?

    init(graceSeconds: Int?, expiresInDays: Int?) throws(ValidationError) {
        let grace = graceSeconds ?? Self.usualGraceSeconds
        guard (0...Self.longestGraceSeconds).contains(grace) else {
            throw ValidationError(field: "graceSeconds", rule: "must be 0 to \(Self.longestGraceSeconds)")
        }
        if let expiresInDays, !(1...NewAPIKey.longestDays).contains(expiresInDays) {
            throw ValidationError(field: "expiresInDays", rule: "must be 1 to \(NewAPIKey.longestDays)")
        }
        self.graceSeconds = grace
        self.expiresInDays = expiresInDays
    }
}

/// What a new API key is to be: checked, not yet made.
struct NewAPIKey: Hashable, Sendable {
    static let longestDays = 3_650

    let caller: String
    let scopes: Set<Scope>
    /// 1 ... 3,650; nil: until it is revoked.
    let expiresInDays: Int?

    init(caller: String, scopes: [String], expiresInDays: Int?) throws(ValidationError) {
        try Name.validate(caller, field: "caller")
        guard !scopes.isEmpty else { throw ValidationError(field: "scopes", rule: "must name at least one scope") }
        var known: Set<Scope> = []
        for text in scopes {
            guard let scope = Scope(rawValue: text) else {
                throw ValidationError(
                    field: "scopes", rule: "must be of \(Scope.allCases.map(\.rawValue).joined(separator: ", "))")
            }
            known.insert(scope)
        }
        if let expiresInDays, !(1...Self.longestDays).contains(expiresInDays) {
            throw ValidationError(field: "expiresInDays", rule: "must be 1 to \(Self.longestDays)")
        }
        self.caller = caller
        self.scopes = known
        self.expiresInDays = expiresInDays
    }

    func expiresAt(now: Timestamp) -> Timestamp? {
        self.expiresInDays.map { now.advanced(byMilliseconds: Int64($0) * 86_400_000) }
    }
}
