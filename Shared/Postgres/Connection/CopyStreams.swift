import CLibpq
import Glibc

/// Writes rows of a COPY in, piece by piece, from asynchronous code: see ``PostgresConnection/copyInStream(_:deadline:_:)``.
public struct CopyInStream: Sendable {
    let connection: PostgresConnection
    let deadline: ContinuousClock.Instant?

    /// Sends rows; returns once the server has taken them, so a slow server slows the source and nothing piles up.
    /// - Throws: what `write` throws, `.timeout`, `.cancelled`, `.connectionLost`; the COPY is undone then.
    public func write(
        _ write: sending (inout CopyRowWriter) throws(PostgresError) -> Void
    ) async throws(PostgresError) {
        try await self.connection.writeCopy(deadline: self.deadline, write)
    }
}

/// Rows of a COPY out in the order of arrival, some 64 KiB at a time. The next ones are read from the connection when they are asked
/// for, and the server waits meanwhile.
public struct CopyOutStream: AsyncSequence, Sendable {
    public typealias Element = CopyBatch
    let connection: PostgresConnection
    let deadline: ContinuousClock.Instant?

    public struct AsyncIterator: AsyncIteratorProtocol {
        let stream: CopyOutStream

        public mutating func next() async throws(PostgresError) -> CopyBatch? {
            try await self.stream.connection.readCopy(deadline: self.stream.deadline)
        }

        public mutating func next(isolation: isolated (any Actor)?) async throws(PostgresError) -> CopyBatch? {
            try await self.stream.connection.readCopy(deadline: self.stream.deadline)
        }
    }

    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(stream: self) }
}

/// Whole rows of a binary COPY out.
public struct CopyBatch: Sendable {
    static let sizeLimit = 65_536
    fileprivate var bytes: [UInt8] = []
    /// Where each row's first column starts.
    fileprivate var starts: [Int] = []

    public var rowCount: Int { self.starts.count }

    /// Calls `body` once per row, in order.
    public func forEachRow(
        _ body: (inout CopyRowReader) throws(PostgresError) -> Void
    ) throws(PostgresError) {
        let result = self.bytes.withUnsafeBytes { bytes -> Result<Void, PostgresError> in
            do throws(PostgresError) {
                for start in self.starts {
                    var row = CopyRowReader(bytes, offset: start)
                    try body(&row)
                }
                return .success(())
            } catch {
                return .failure(error)
            }
        }
        try result.get()
    }
}

extension PostgresConnection {
    /// Streams rows into a table from asynchronous code: `COPY t FROM STDIN (FORMAT binary)`.
    ///
    /// The connection can do nothing else until this returns. When `body` throws, or its task is cancelled, nothing is stored.
    /// - Returns: number of rows stored.
    @discardableResult
    public nonisolated(nonsending) func copyInStream(
        _ statement: PostgresStatement, deadline: ContinuousClock.Instant? = nil,
        _ body: (CopyInStream) async throws -> Void
    ) async throws -> Int {
        try await self.beginCopyIn(statement, deadline: deadline)
        do {
            try await body(CopyInStream(connection: self, deadline: deadline))
        } catch {
            await self.abandonCopyIn()
            throw error
        }
        return try await self.endCopyIn(deadline: deadline)
    }

    /// Streams rows out to asynchronous code: `COPY (SELECT ...) TO STDOUT (FORMAT binary)`.
    ///
    /// The connection can do nothing else until this returns. A `body` that stops early, or throws, stops the server too.
    public nonisolated(nonsending) func copyOutStream<Result>(
        _ statement: PostgresStatement, deadline: ContinuousClock.Instant? = nil,
        _ body: (CopyOutStream) async throws -> Result
    ) async throws -> Result {
        try await self.beginCopyOut(statement, deadline: deadline)
        do {
            let result = try await body(CopyOutStream(connection: self, deadline: deadline))
            await self.abandonCopyOut()
            return result
        } catch {
            await self.abandonCopyOut()
            throw error
        }
    }

    private func beginCopyIn(
        _ statement: PostgresStatement, deadline: ContinuousClock.Instant?
    ) async throws(PostgresError) {
        try await self.perform(deadline: deadline) { session, operation throws(PostgresError) in
            try session.beginCopy(statement.text, expecting: PGRES_COPY_IN, &operation)
            self.core.isCopying = true
            let limits = CopyLimits(operation)
            defer { operation = limits.operation }
            try self.writing(session, limits, startsCopy: true) { (header) throws(PostgresError) in try header.flush() }
        }
    }

    fileprivate func writeCopy(
        deadline: ContinuousClock.Instant?, _ write: sending (inout CopyRowWriter) throws(PostgresError) -> Void
    ) async throws(PostgresError) {
        try await self.perform(deadline: deadline, isUnderWay: true) { session, operation throws(PostgresError) in
            try self.requireCopy()
            let limits = CopyLimits(operation)
            defer { operation = limits.operation }
            try self.writing(session, limits) { (writer) throws(PostgresError) in
                try write(&writer)
                try writer.flush()
            }
        }
    }

    /// Runs a part of a COPY in; ends the COPY, undone, when the part fails: a cancel request can be waited for only then.
    private func writing(
        _ session: Session, _ limits: CopyLimits, startsCopy: Bool = false,
        _ body: (inout CopyRowWriter) throws(PostgresError) -> Void
    ) throws(PostgresError) {
        var writer = CopyRowWriter(startsCopy: startsCopy) { (chunk) throws(PostgresError) in
            try session.put(chunk, &limits.operation)
        }
        do { try body(&writer) } catch {
            self.core.isCopying = false
            if error.code != .connectionLost { _ = try session.endCopyIn(error, &limits.operation) }
            throw error
        }
    }

    private func endCopyIn(deadline: ContinuousClock.Instant?) async throws(PostgresError) -> Int {
        try await self.perform(deadline: deadline, isUnderWay: true) { session, operation throws(PostgresError) in
            try self.requireCopy()
            let limits = CopyLimits(operation)
            defer { operation = limits.operation }
            try self.writing(session, limits) { (writer) throws(PostgresError) in try writer.finish() }
            self.core.isCopying = false
            return try session.endCopyIn(nil, &limits.operation)
        }
    }

    private func requireCopy() throws(PostgresError) {
        guard self.core.isCopying else { throw PostgresError(.invalidStatement, detail: "the COPY is over") }
    }

    private func abandonCopyIn() async {
        let deadline = ContinuousClock.now + .seconds(5)
        try? await self.perform(deadline: deadline, heedsCancellation: false, isUnderWay: true) {
            session, operation throws(PostgresError) in
            guard self.core.isCopying else { return }
            self.core.isCopying = false
            _ = try session.endCopyIn(PostgresError(.cancelled, detail: "the source failed"), &operation)
        }
    }

    private func beginCopyOut(
        _ statement: PostgresStatement, deadline: ContinuousClock.Instant?
    ) async throws(PostgresError) {
        try await self.perform(deadline: deadline) { session, operation throws(PostgresError) in
            try session.beginCopy(statement.text, expecting: PGRES_COPY_OUT, &operation)
            self.core.isCopying = true
        }
    }

    fileprivate func readCopy(deadline: ContinuousClock.Instant?) async throws(PostgresError) -> CopyBatch? {
        try await self.perform(deadline: deadline, isUnderWay: true) { session, operation throws(PostgresError) in
            guard self.core.isCopying else { return nil }
            var batch = CopyBatch()
            do throws(PostgresError) {
                guard try session.readCopy(into: &batch, &operation) else { return batch }
                self.core.isCopying = false
                _ = try session.finishCopy(&operation)
            } catch {
                self.core.isCopying = false
                throw error
            }
            return batch.rowCount > 0 ? batch : nil
        }
    }

    private func abandonCopyOut() async {
        let deadline = ContinuousClock.now + .seconds(5)
        try? await self.perform(deadline: deadline, heedsCancellation: false, isUnderWay: true) {
            session, operation throws(PostgresError) in
            guard self.core.isCopying else { return }
            self.core.isCopying = false
            session.abandon(&operation, because: .cancelled)
            var batch = CopyBatch()
            while try !session.readCopy(into: &batch, &operation) { batch = CopyBatch() }
            _ = try session.finishCopy(&operation)
        }
    }
}

/// An operation's limits for a closure that must not hold them `inout`.
final class CopyLimits {
    var operation: Session.Operation
    init(_ operation: Session.Operation) { self.operation = operation }
}

extension Session {
    /// Reads rows until there are some 64 KiB of them, or none is left.
    /// - Returns: whether the COPY is at its end.
    fileprivate func readCopy(into batch: inout CopyBatch, _ operation: inout Operation) throws(PostgresError) -> Bool {
        while batch.bytes.count < CopyBatch.sizeLimit {
            var chunk: UnsafeMutablePointer<CChar>?
            let length = PQgetCopyData(self.pointer, &chunk, 1)
            if length == 0 {
                // What is there is better handed over than held back.
                if batch.rowCount > 0 { return false }
                try self.wait(for: POLLIN, &operation)
                guard PQconsumeInput(self.pointer) == 1 else { throw self.lost("PQconsumeInput") }
                continue
            }
            guard length > 0 else { return true }
            defer { PQfreemem(chunk) }
            let bytes = UnsafeRawBufferPointer(start: chunk, count: Int(length))
            let offset = Self.copyHeaderLength(bytes)
            guard offset + 2 <= bytes.count,
                Int16(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Int16.self)) >= 0
            else { continue }
            batch.starts.append(batch.bytes.count + offset + 2)
            batch.bytes.append(contentsOf: bytes)
        }
        return false
    }

    /// 19 for a message that begins with the signature of binary COPY (11 bytes, flags, length of an extension), else 0. No row
    /// begins like that: it would have 20,551 columns.
    private static func copyHeaderLength(_ bytes: UnsafeRawBufferPointer) -> Int {
        bytes.count >= 19 && bytes.starts(with: [0x50, 0x47, 0x43, 0x4F, 0x50, 0x59, 0x0A, 0xFF]) ? 19 : 0
    }
}
