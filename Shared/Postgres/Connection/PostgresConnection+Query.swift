import CLibpq

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
            try self.runPipeline(queries, on: session, &operation)
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

    /// What was sent for one query of a pipeline, and so how many results are to be read for it.
    private enum Sent {
        case unnamed
        case named
        /// The statement was prepared just before.
        case prepared(StatementCache.Key, name: String)
    }

    private func runPipeline(
        _ queries: [PostgresQuery], on session: Session, _ operation: inout Session.Operation
    ) throws(PostgresError) -> [PostgresRows] {
        if self.droppedStatements.count >= 16, session.transactionStatus == PQTRANS_IDLE {
            let names = self.droppedStatements
            self.droppedStatements = []
            _ = try session.runSimple(names.map { "DEALLOCATE \($0)" }.joined(separator: ";"), &operation)
        }
        guard PQenterPipelineMode(session.pointer) == 1 else { throw session.lost("PQenterPipelineMode") }
        var sent: [Sent] = []
        sent.reserveCapacity(queries.count)
        for query in queries {
            sent.append(try self.send(query, earlier: sent, on: session))
            // Long pipelines must not pile up on either side.
            if sent.count % 64 == 0 { try session.flush(&operation) }
        }
        guard PQpipelineSync(session.pointer) == 1 else { throw session.lost("PQpipelineSync") }
        try session.flush(&operation)
        let results = try self.receive(sent, on: session, &operation)
        guard PQexitPipelineMode(session.pointer) == 1 else { throw session.lost("PQexitPipelineMode") }
        return try results.get()
    }

    private func send(
        _ query: PostgresQuery, earlier: [Sent], on session: Session
    ) throws(PostgresError) -> Sent {
        let parameters = EncodedParameters(query.parameters)
        guard query.statement.isPrepared, self.statements.limit > 0 else {
            try parameters.send(statement: query.statement.text, isName: false, on: session)
            return .unnamed
        }
        let key = StatementCache.Key(text: query.statement.text, types: parameters.types)
        if let name = self.statements.name(for: key) {
            try parameters.send(statement: name, isName: true, on: session)
            return .named
        }
        for case .prepared(key, let name) in earlier {
            try parameters.send(statement: name, isName: true, on: session)
            return .named
        }
        let name = self.statements.newName()
        guard
            PQsendPrepare(
                session.pointer, name, query.statement.text, CInt(parameters.types.count), parameters.types) == 1
        else { throw session.lost("PQsendPrepare") }
        try parameters.send(statement: name, isName: true, on: session)
        return .prepared(key, name: name)
    }

    /// Reads the results of a whole pipeline up to its synchronisation point.
    private func receive(
        _ sent: [Sent], on session: Session, _ operation: inout Session.Operation
    ) throws(PostgresError) -> Result<[PostgresRows], PostgresError> {
        var rows: [PostgresRows] = []
        var failure: PostgresError?
        var dropped: [String] = []
        for item in sent {
            if case .prepared(let key, let name) = item {
                let prepared = try self.takeResult(session, &operation, &failure)
                if prepared != nil, let old = self.statements.insert(key, name: name) { dropped.append(old) }
            }
            if let result = try self.takeResult(session, &operation, &failure) { rows.append(result) }
        }
        // The synchronisation point answers with a result of its own, not followed by a nil.
        while let result = try session.nextResult(&operation) {
            let status = PQresultStatus(result)
            PQclear(result)
            if status == PGRES_PIPELINE_SYNC { break }
        }
        self.droppedStatements.append(contentsOf: dropped)
        if let failure { return .failure(failure) }
        return .success(rows)
    }

    /// The one result of a command and the nil that ends it; nil when it failed or was skipped after a failure.
    private func takeResult(
        _ session: Session, _ operation: inout Session.Operation, _ failure: inout PostgresError?
    ) throws(PostgresError) -> PostgresRows? {
        var rows: PostgresRows?
        while let result = try session.nextResult(&operation) {
            switch PQresultStatus(result) {
            case PGRES_TUPLES_OK, PGRES_COMMAND_OK, PGRES_EMPTY_QUERY: rows = PostgresRows(result: ResultHandle(result))
            case PGRES_PIPELINE_ABORTED: PQclear(result)
            case PGRES_COPY_IN, PGRES_COPY_OUT, PGRES_COPY_BOTH:
                PQclear(result)
                throw session.abandonCopy()
            default:
                if failure == nil { failure = session.failure(result, operation) }
                PQclear(result)
            }
        }
        return rows
    }
}

extension EncodedParameters {
    /// - Parameter isName: whether `statement` names a prepared statement or is a text.
    func send(statement: String, isName: Bool, on session: Session) throws(PostgresError) {
        let count = CInt(self.types.count)
        let formats = [CInt](repeating: 1, count: self.types.count)
        let sent: CInt = self.bytes.withUnsafeBufferPointer { buffer in
            let base = UnsafeRawPointer(buffer.baseAddress)?.assumingMemoryBound(to: CChar.self)
            let values: [UnsafePointer<CChar>?] = zip(self.starts, self.lengths).map { start, length in
                length < 0 ? nil : base?.advanced(by: start)
            }
            let lengths = self.lengths.map { max(0, $0) }
            return isName
                ? PQsendQueryPrepared(session.pointer, statement, count, values, lengths, formats, 1)
                : PQsendQueryParams(session.pointer, statement, count, self.types, values, lengths, formats, 1)
        }
        guard sent == 1 else { throw session.lost("sending a statement") }
    }
}
