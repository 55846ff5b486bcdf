import CLibpq
import Glibc

/// COPY of whole tables as the bytes they are: for what is kept in files and never looked into.
extension PostgresConnection {
    /// Hands out what `COPY (SELECT ...) TO STDOUT` sends, in whatever format it names, as it comes.
    ///
    /// - Parameter take: runs on the connection's thread; the server waits meanwhile. When it throws, the server is asked to stop
    ///   and the error is thrown once it has.
    /// - Returns: number of rows.
    @discardableResult
    public func copyOutBytes(
        _ statement: PostgresStatement, deadline: ContinuousClock.Instant? = nil,
        _ take: sending (UnsafeRawBufferPointer) throws(PostgresError) -> Void
    ) async throws(PostgresError) -> Int {
        try await self.perform(deadline: deadline) { session, operation throws(PostgresError) in
            try session.copyOutBytes(statement.text, &operation, take)
        }
    }

    /// Sends the bytes of a `COPY ... FROM STDIN` in whatever format it names.
    ///
    /// - Parameter next: the next piece, nil at the end; runs on the connection's thread. When it throws, nothing is stored.
    /// - Returns: number of rows stored.
    @discardableResult
    public func copyInBytes(
        _ statement: PostgresStatement, deadline: ContinuousClock.Instant? = nil,
        _ next: sending () throws(PostgresError) -> [UInt8]?
    ) async throws(PostgresError) -> Int {
        try await self.perform(deadline: deadline) { session, operation throws(PostgresError) in
            try session.copyInBytes(statement.text, &operation, next)
        }
    }
}

extension Session {
    fileprivate func copyOutBytes(
        _ text: String, _ operation: inout Operation, _ take: (UnsafeRawBufferPointer) throws(PostgresError) -> Void
    ) throws(PostgresError) -> Int {
        try self.beginCopy(text, expecting: PGRES_COPY_OUT, &operation)
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
            do {
                try take(UnsafeRawBufferPointer(start: chunk, count: Int(length)))
            } catch {
                failure = error
                self.abandon(&operation, because: error.code)
            }
        }
        let rows = Result { () throws(PostgresError) in try self.finishCopy(&operation) }
        if case .failure(let error) = rows, error.code == .connectionLost { throw error }
        if let failure { throw failure }
        return try rows.get()
    }

    fileprivate func copyInBytes(
        _ text: String, _ operation: inout Operation, _ next: () throws(PostgresError) -> [UInt8]?
    ) throws(PostgresError) -> Int {
        try self.beginCopy(text, expecting: PGRES_COPY_IN, &operation)
        var failure: PostgresError?
        do {
            while let piece = try next() {
                // The buffer's closure cannot throw our type, so the outcome is carried out of it.
                let outcome = piece.withUnsafeBytes { bytes -> Result<Void, PostgresError> in
                    Result { () throws(PostgresError) in try self.put(bytes, &operation) }
                }
                try outcome.get()
            }
        } catch {
            failure = error
        }
        if let failure, failure.code == .connectionLost { throw failure }
        return try self.endCopyIn(failure, &operation)
    }
}
