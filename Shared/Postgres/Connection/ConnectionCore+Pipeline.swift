import CLibpq

/// Statements in pipeline mode, with the lock held.
extension ConnectionCore {
    /// Runs statements in one round trip. Plans that became stale are made anew, once, when all of it was one transaction that is
    /// undone; inside a transaction of the caller the error goes out, since that transaction is over.
    func run(
        _ queries: [PostgresQuery], on session: Session, _ operation: inout Session.Operation
    ) throws(PostgresError) -> [PostgresRows] {
        let isAlone = session.transactionStatus == PQTRANS_IDLE
        try self.deallocateDropped(on: session, &operation)
        let sent = try self.send(queries, on: session)
        try session.flush(&operation)
        let outcome = try self.receive(sent, on: session, &operation)
        guard case .failure(let failure) = outcome.result, failure.code == .staleStatement, isAlone,
            !outcome.committed, session.transactionStatus == PQTRANS_IDLE, operation.stopReason == nil
        else { return try outcome.result.get() }
        let again = try self.send(queries, on: session)
        try session.flush(&operation)
        return try self.receive(again, on: session, &operation).result.get()
    }

    /// Frees what the cache let go, some at a time and between transactions.
    func deallocateDropped(on session: Session, _ operation: inout Session.Operation) throws(PostgresError) {
        guard self.droppedStatements.count >= 16, session.transactionStatus == PQTRANS_IDLE else { return }
        let names = self.droppedStatements
        self.droppedStatements = []
        do {
            _ = try session.runSimple(names.map { "DEALLOCATE \($0)" }.joined(separator: ";"), &operation)
        } catch {
            // DISCARD ALL, or a pooler that changed servers, was faster.
            guard error.sqlState == "26000" else { throw error }
        }
    }

    /// Enters pipeline mode and hands libpq all statements and a synchronisation point.
    func send(_ queries: [PostgresQuery], on session: Session) throws(PostgresError) -> [Sent] {
        guard PQenterPipelineMode(session.pointer) == 1 else { throw session.lost("PQenterPipelineMode") }
        var sent: [Sent] = []
        sent.reserveCapacity(queries.count)
        for query in queries { sent.append(try self.send(query, earlier: sent, on: session)) }
        guard PQpipelineSync(session.pointer) == 1 else { throw session.lost("PQpipelineSync") }
        return sent
    }

    private func send(_ query: PostgresQuery, earlier: [Sent], on session: Session) throws(PostgresError) -> Sent {
        let parameters = EncodedParameters(query.parameters)
        guard query.statement.isPrepared, self.statements.limit > 0 else {
            try parameters.send(statement: query.statement.text, isName: false, on: session)
            return .unnamed
        }
        let key = StatementCache.Key(text: query.statement.text, types: parameters.types)
        if let name = self.statements.name(for: key) {
            try parameters.send(statement: name, isName: true, on: session)
            return .named(key)
        }
        for case .prepared(key, let name) in earlier {
            try parameters.send(statement: name, isName: true, on: session)
            return .unnamed
        }
        let name = self.statements.newName()
        guard
            PQsendPrepare(
                session.pointer, name, query.statement.text, CInt(parameters.types.count), parameters.types) == 1
        else { throw session.lost("PQsendPrepare") }
        try parameters.send(statement: name, isName: true, on: session)
        return .prepared(key, name: name)
    }

    /// What came of a pipeline that was read to its end.
    struct Outcome {
        var result: Result<[PostgresRows], PostgresError>
        /// Whether a COMMIT among the statements took effect: then the pipeline cannot be run again as a whole.
        var committed: Bool
    }

    /// Reads the results of a whole pipeline up to its synchronisation point and leaves pipeline mode.
    func receive(
        _ sent: [Sent], on session: Session, _ operation: inout Session.Operation
    ) throws(PostgresError) -> Outcome {
        var rows: [PostgresRows] = []
        rows.reserveCapacity(sent.count)
        var failure: PostgresError?
        var committed = false
        for item in sent {
            if case .prepared(let key, let name) = item {
                let prepared = try self.takeResult(session, &operation, &failure)
                if prepared != nil, let old = self.statements.insert(key, name: name) {
                    self.droppedStatements.append(old)
                }
            }
            let failedBefore = failure != nil
            if let result = try self.takeResult(session, &operation, &failure) {
                committed = committed || result.result.endedTransaction
                rows.append(result)
            }
            if !failedBefore, let error = failure, case .named(let key) = item { failure = self.judge(error, of: key) }
        }
        // The synchronisation point answers with a result of its own, not followed by a nil.
        while let result = try session.nextResult(&operation) {
            let status = PQresultStatus(result)
            PQclear(result)
            if status == PGRES_PIPELINE_SYNC { break }
        }
        guard PQexitPipelineMode(session.pointer) == 1 else { throw session.lost("PQexitPipelineMode") }
        if let failure { return Outcome(result: .failure(failure), committed: committed) }
        return Outcome(result: .success(rows), committed: committed)
    }

    /// Tells a stale plan from a statement that the server cannot run: both are 0A000, and only a kept plan can be stale.
    func judge(_ error: PostgresError, of key: StatementCache.Key) -> PostgresError {
        switch error.sqlState {
        case "26000":
            // Somebody ran DISCARD ALL or DEALLOCATE ALL: none of our names means anything any more.
            self.statements.removeAll()
            self.droppedStatements = []
        case "0A000":
            if let name = self.statements.remove(key) { self.droppedStatements.append(name) }
        default: return error
        }
        return PostgresError(.staleStatement, sqlState: error.sqlState, detail: error.detail)
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
        let count = self.types.count
        let sent: CInt = self.bytes.withUnsafeBufferPointer { buffer in
            let base = UnsafeRawPointer(buffer.baseAddress)?.assumingMemoryBound(to: CChar.self)
            return withUnsafeTemporaryAllocation(of: UnsafePointer<CChar>?.self, capacity: count) { values in
                withUnsafeTemporaryAllocation(of: CInt.self, capacity: 2 * count) { integers in
                    for index in 0..<count {
                        let length = self.lengths[index]
                        values.initializeElement(
                            at: index, to: length < 0 ? nil : base?.advanced(by: self.starts[index]))
                        integers.initializeElement(at: index, to: max(0, length))
                        // Binary.
                        integers.initializeElement(at: count + index, to: 1)
                    }
                    let formats = integers.baseAddress.map { $0 + count }
                    return isName
                        ? PQsendQueryPrepared(
                            session.pointer, statement, CInt(count), values.baseAddress, integers.baseAddress,
                            formats, 1)
                        : PQsendQueryParams(
                            session.pointer, statement, CInt(count), self.types, values.baseAddress,
                            integers.baseAddress, formats, 1)
                }
            }
        }
        guard sent == 1 else { throw session.lost("sending a statement") }
    }
}
