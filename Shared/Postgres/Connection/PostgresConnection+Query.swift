extension PostgresConnection {
    /// Runs one statement and returns all its rows.
    ///
    /// Outside a transaction it is a transaction of its own.
    /// - Throws: what the server refused by SQLSTATE, `.timeout`, `.cancelled`, `.connectionLost`.
    @discardableResult
    public func query(
        _ statement: PostgresStatement, _ parameters: [PostgresValue] = [], deadline: ContinuousClock.Instant? = nil
    ) async throws(PostgresError) -> PostgresRows {
        let results = try await self.pipeline([PostgresQuery(statement, parameters)], deadline: deadline)
        return results[0]
    }

    /// One statement outside a transaction, sent by the caller's own thread when that is possible at once.
    nonisolated(nonsending) func single(
        _ query: PostgresQuery, deadline: ContinuousClock.Instant?
    ) async throws(PostgresError) -> PostgresRows {
        if Task.isCancelled { throw PostgresError(.cancelled, detail: "before it was sent") }
        if let limit = PostgresDeadline.earliest(deadline), limit <= ContinuousClock.now {
            throw PostgresError(.timeout, detail: "before it was sent")
        }
        let result: Result<PostgresRows, PostgresError>
        switch self.core.sendInline(query) {
        case .declined: return try await self.query(query.statement, query.parameters, deadline: deadline)
        case .sent: result = await self.finishSent(deadline: deadline)
        case .answered(let answer):
            result = answer
            self.noteStanding()
        }
        guard case .failure(let error) = result, error.code == .staleStatement else { return try result.get() }
        // The stale plan is forgotten and nothing of the statement remains: once more, prepared anew.
        return try await self.query(query.statement, query.parameters, deadline: deadline)
    }

    private func finishSent(deadline: ContinuousClock.Instant?) async -> Result<PostgresRows, PostgresError> {
        do throws(PostgresError) {
            return try await self.perform(deadline: deadline, isUnderWay: true) {
                session, operation throws(PostgresError) in
                try self.core.finish(on: session, &operation)
            }
        } catch {
            return .failure(error)
        }
    }

    /// Runs a statement for its effect and returns the number of rows it touched.
    @discardableResult
    public func execute(
        _ statement: PostgresStatement, _ parameters: [PostgresValue] = [], deadline: ContinuousClock.Instant? = nil
    ) async throws(PostgresError) -> Int {
        try await self.query(statement, parameters, deadline: deadline).affectedRows
    }

    /// Runs several statements in one round trip, in order, and returns the rows of each.
    ///
    /// Outside a transaction all of them are one transaction: the first failure undoes the others and is thrown.
    public func pipeline(
        _ queries: [PostgresQuery], deadline: ContinuousClock.Instant? = nil
    ) async throws(PostgresError) -> [PostgresRows] {
        guard !queries.isEmpty else { return [] }
        return try await self.perform(deadline: deadline) { session, operation throws(PostgresError) in
            try self.core.run(queries, on: session, &operation)
        }
    }

    /// Runs a text without parameters that may hold several statements (migrations, session settings). Not prepared.
    public func runScript(
        _ statement: PostgresStatement, deadline: ContinuousClock.Instant? = nil
    ) async throws(PostgresError) {
        try await self.perform(deadline: deadline) { session, operation throws(PostgresError) in
            _ = try session.runSimple(statement.text, &operation)
        }
    }
}
