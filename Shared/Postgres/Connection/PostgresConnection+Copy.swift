import CLibpq
import Glibc

extension PostgresConnection {
    /// Streams rows into a table: `COPY observations (shard, node_id, observed_at, value) FROM STDIN (FORMAT binary)`.
    ///
    /// - Parameter write: writes the rows; runs on the connection's thread and waits there when the server is slower. When it
    ///   throws, the COPY is undone.
    /// - Returns: number of rows stored.
    @discardableResult
    public func copyIn(
        _ statement: PostgresStatement, deadline: ContinuousClock.Instant? = nil,
        _ write: sending (inout CopyRowWriter) throws(PostgresError) -> Void
    ) async throws(PostgresError) -> Int {
        try await self.perform(deadline: deadline) { session, operation throws(PostgresError) in
            try session.copyIn(statement.text, &operation, write)
        }
    }

    /// Streams rows out: `COPY (SELECT ...) TO STDOUT (FORMAT binary)`; COPY takes no parameters.
    ///
    /// - Parameter read: called once per row on the connection's thread; the server waits meanwhile. When it throws, the rest
    ///   is dropped.
    /// - Returns: number of rows.
    @discardableResult
    public func copyOut(
        _ statement: PostgresStatement, deadline: ContinuousClock.Instant? = nil,
        _ read: sending (inout CopyRowReader) throws(PostgresError) -> Void
    ) async throws(PostgresError) -> Int {
        try await self.perform(deadline: deadline) { session, operation throws(PostgresError) in
            try session.copyOut(statement.text, &operation, read)
        }
    }
}

extension Session {
    fileprivate func copyIn(
        _ text: String, _ operation: inout Operation, _ write: (inout CopyRowWriter) throws(PostgresError) -> Void
    ) throws(PostgresError) -> Int {
        try self.beginCopy(text, expecting: PGRES_COPY_IN, &operation)
        // The writer's closure must not hold the inout operation; it gets a copy for the length of the COPY.
        let limits = CopyLimits(operation)
        var failure: PostgresError?
        do {
            var writer = CopyRowWriter { (chunk) throws(PostgresError) in
                try self.put(chunk, &limits.operation)
            }
            try write(&writer)
            try writer.finish()
        } catch {
            failure = error
        }
        operation = limits.operation
        if let failure, failure.code == .connectionLost { throw failure }
        return try self.endCopyIn(failure, &operation)
    }

    /// Ends a COPY in: stores everything, or nothing when there was a failure, which is then thrown.
    func endCopyIn(_ failure: PostgresError?, _ operation: inout Operation) throws(PostgresError) -> Int {
        // While the server still waits for data, it heeds a cancel request only once the COPY ends.
        let reason = failure == nil ? operation.stopReason.map { "\($0)" } : "abandoned by the client"
        while true {
            let ended = PQputCopyEnd(self.pointer, reason)
            if ended == 1 { break }
            guard ended == 0 else { throw self.lost("PQputCopyEnd") }
            try self.wait(for: POLLIN | POLLOUT, &operation)
        }
        try self.flush(&operation)
        let rows = Swift.Result { () throws(PostgresError) in try self.finishCopy(&operation) }
        if let failure { throw failure }
        do {
            return try rows.get()
        } catch {
            if let reason = operation.stopReason, error.code != .connectionLost {
                throw PostgresError(reason, sqlState: error.sqlState, detail: error.detail)
            }
            throw error
        }
    }

    func put(_ chunk: UnsafeRawBufferPointer, _ operation: inout Operation) throws(PostgresError) {
        guard let start = chunk.baseAddress?.assumingMemoryBound(to: CChar.self) else { return }
        while true {
            let accepted = PQputCopyData(self.pointer, start, CInt(chunk.count))
            if accepted == 1 { break }
            guard accepted == 0 else { throw self.lost("PQputCopyData") }
            try self.wait(for: POLLIN | POLLOUT, &operation)
            guard PQconsumeInput(self.pointer) == 1 else { throw self.lost("PQconsumeInput") }
        }
        // libpq would buffer without end: wait until the server has taken what we gave.
        try self.flush(&operation)
        if operation.heedsCancellation, self.signal.isCancelled(operation.ticket) {
            operation.stopReason = .cancelled
        } else if let deadline = operation.deadline, operation.stopReason == nil, deadline <= ContinuousClock.now {
            operation.stopReason = .timeout
            operation.deadline = nil
        }
        if let reason = operation.stopReason { throw PostgresError(reason, detail: "during COPY") }
    }

    func beginCopy(
        _ text: String, expecting status: ExecStatusType, _ operation: inout Operation
    ) throws(PostgresError) {
        guard PQsendQuery(self.pointer, text) == 1 else { throw self.lost("PQsendQuery") }
        try self.flush(&operation)
        var failure: PostgresError?
        while let result = try self.nextResult(&operation) {
            defer { PQclear(result) }
            if PQresultStatus(result) == status { return }
            guard failure == nil else { continue }
            failure =
                PQresultStatus(result) == PGRES_FATAL_ERROR
                ? self.failure(result, operation)
                : PostgresError(.invalidStatement, detail: "not a COPY of this direction")
        }
        throw failure ?? self.lost("COPY")
    }

    /// The command's own result, and any error that came with it.
    func finishCopy(_ operation: inout Operation) throws(PostgresError) -> Int {
        var rows = 0
        var failure: PostgresError?
        while let result = try self.nextResult(&operation) {
            if PQresultStatus(result) == PGRES_COMMAND_OK {
                rows = PostgresRows(result: ResultHandle(result)).affectedRows
            } else {
                if failure == nil { failure = self.failure(result, operation) }
                PQclear(result)
            }
        }
        if let failure { throw failure }
        return rows
    }

    fileprivate func copyOut(
        _ text: String, _ operation: inout Operation, _ read: (inout CopyRowReader) throws(PostgresError) -> Void
    ) throws(PostgresError) -> Int {
        try self.beginCopy(text, expecting: PGRES_COPY_OUT, &operation)
        var isFirst = true
        var rows = 0
        var failure: PostgresError?
        while true {
            var chunk: UnsafeMutablePointer<CChar>?
            let length = PQgetCopyData(self.pointer, &chunk, 1)
            if length == 0 {
                try self.wait(for: POLLIN, &operation)
                guard PQconsumeInput(self.pointer) == 1 else { throw self.lost("PQconsumeInput") }
                continue
            }
            guard length > 0 else { break }
            defer { PQfreemem(chunk) }
            guard failure == nil else { continue }
            let bytes = UnsafeRawBufferPointer(start: chunk, count: Int(length))
            // The header comes with the first row or alone: 11 bytes of signature, flags, length of an extension.
            var offset = 0
            if isFirst {
                isFirst = false
                offset = 19
            }
            guard offset + 2 <= bytes.count else { continue }
            guard Int16(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Int16.self)) >= 0 else { continue }
            var row = CopyRowReader(bytes, offset: offset + 2)
            do {
                try read(&row)
                rows += 1
            } catch {
                failure = error
                // The rest is of no use to anyone: ask the server to stop sending.
                self.abandon(&operation, because: error.code)
            }
        }
        do { _ = try self.finishCopy(&operation) } catch {
            if failure == nil || error.code == .connectionLost { throw error }
        }
        if let failure { throw failure }
        return rows
    }
}
