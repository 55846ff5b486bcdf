import Model
import Postgres
import Synchronization

/// Makes chunks durable, one transaction each: unknown nodes, observations, the log row, and with the last chunk of a request the
/// answer under its idempotency key.
///
/// Observations go in by COPY. When one of them is known already (SQLSTATE 23505) the transaction is done again with
/// `ON CONFLICT DO NOTHING`, and so are the next ones until a chunk brings nothing known: a replay then costs one attempt per
/// chunk, not two.
final class IngestWriter: Sendable {
    /// What one chunk brought.
    struct Stored: Sendable, Hashable {
        /// Observations that were not known.
        var added = 0
        var duplicates = 0
    }

    /// What ends a keyed request: the hash of its body, and the answer once the last chunk's outcome is known.
    struct Completion: Sendable {
        let key: IdempotencyKey
        let payloadHash: [UInt8]
        let answer: @Sendable (Stored) throws -> StoredAnswer
    }

    enum Outcome: Sendable, Hashable {
        case stored(Stored, answer: StoredAnswer?)
        /// Another request with this key and body was done meanwhile; nothing was written now.
        case replay(StoredAnswer)
    }

    private enum Path { case copy, merge }

    /// Transactions tried per chunk after errors that a second attempt can settle.
    private static let attemptLimit = 4
    /// Rows per merging statement.
    private static let mergeSlice = 10_000

    private let pool: PostgresPool
    private let partitions: ObservationPartitions
    private let nodes: NodeTable
    private let notifier: IngestNotifier
    private let metrics: IngestMetrics
    private let mergesFirst = Atomic<Bool>(false)

    init(
        pool: PostgresPool, partitions: ObservationPartitions, nodes: NodeTable, notifier: IngestNotifier,
        metrics: IngestMetrics
    ) {
        self.pool = pool
        self.partitions = partitions
        self.nodes = nodes
        self.notifier = notifier
        self.metrics = metrics
    }

    /// The answer stored under a key, if any.
    func answer(for key: IdempotencyKey) async throws -> StoredAnswer? {
        try StoredAnswer.decode(
            await self.pool.query(IngestStatements.findKey, [.text(key.caller), .text(key.key)]))
    }

    /// Commits a chunk; when this returns, its observations are durable.
    ///
    /// - Throws: `Problem` 409 or 422 by the key, ``PostgresError`` otherwise. Nothing of the chunk was written then, except
    ///   that after `.connectionLost` in the COMMIT it may have been; sending it again is harmless.
    func commit(_ chunk: IngestChunk, completion: Completion? = nil) async throws -> Outcome {
        var chunk = chunk
        chunk.sort()
        var path: Path = self.mergesFirst.load(ordering: .relaxed) ? .merge : .copy
        var attempt = 1
        while true {
            do {
                try await self.partitions.ensure(chunk.days, pool: self.pool)
                let outcome = try await self.transact(chunk, path, completion)
                self.committed(chunk, path, outcome)
                return outcome
            } catch let error as PostgresError where attempt < Self.attemptLimit {
                attempt += 1
                if error.code == .uniqueViolation, path == .copy {
                    path = .merge
                } else if error.sqlState == "23514" {
                    // A partition was retired after we had looked.
                    self.partitions.forgetAll()
                } else if error.severity != .retryNow {
                    throw error
                }
                self.metrics.redoing()
            }
        }
    }

    private func committed(_ chunk: IngestChunk, _ path: Path, _ outcome: Outcome) {
        guard case .stored(let stored, _) = outcome else { return }
        if path == .merge { self.mergesFirst.store(stored.duplicates > 0, ordering: .relaxed) }
        self.nodes.markStored(Array(chunk.newNodes.values))
        self.metrics.stored(stored)
        if stored.added > 0 { self.notifier.signal() }
    }

    private func transact(_ chunk: IngestChunk, _ path: Path, _ completion: Completion?) async throws -> Outcome {
        try await self.pool.withTransaction { connection in
            if let completion, let answer = try await self.claim(completion, connection) { return .replay(answer) }
            try await self.storeNodes(chunk.newNodes, connection)
            var spans: [IngestChunk.Span] = []
            var stored = Stored()
            switch path {
            case .copy:
                stored.added = try await Self.copy(chunk.rows, connection)
                spans = chunk.spans
            case .merge:
                (spans, stored.added) = try await Self.merge(chunk.rows, connection)
            }
            stored.duplicates = chunk.rows.count - stored.added
            let answer = try completion?.answer(stored)
            try await Self.log(
                spans, stored, completion.flatMap { given in answer.map { (given.key, $0) } }, connection)
            return .stored(stored, answer: answer)
        }
    }

    /// Takes the key's lock and looks whether it was used.
    private func claim(_ completion: Completion, _ connection: PostgresConnection) async throws -> StoredAnswer? {
        guard try await connection.tryLock(completion.key.lock) else { throw IdempotencyKey.inFlight }
        // A statement of its own, after the lock: it sees what the lock's last holder committed.
        let rows = try await connection.query(
            IngestStatements.findKey, [.text(completion.key.caller), .text(completion.key.key)])
        guard let answer = try StoredAnswer.decode(rows) else { return nil }
        guard answer.payloadHash == completion.payloadHash else { throw IdempotencyKey.mismatch }
        return answer
    }

    private func storeNodes(_ nodes: [Int64: NodeKey], _ connection: PostgresConnection) async throws {
        guard !nodes.isEmpty else { return }
        let nodes = nodes.sorted { $0.key < $1.key }
        let taken = try await connection.query(
            IngestStatements.storeNodes,
            [
                .shardArray(nodes.map { Shard(event: $0.value.event) }), .int64Array(nodes.map(\.key)),
                .textArray(nodes.map(\.value.domain)), .textArray(nodes.map(\.value.event)),
                .textArray(nodes.map(\.value.market)), .textArray(nodes.map(\.value.venue)),
            ])
        if let node = try taken.column(Int64.self).first {
            let names = nodes.first { $0.key == node }?.value.display ?? ""
            throw Problem(.invalidRequest, detail: "The number of node \(names.prefix(64)) belongs to another node.")
        }
    }

    private static func copy(_ rows: [IngestChunk.Row], _ connection: PostgresConnection) async throws -> Int {
        guard !rows.isEmpty else { return 0 }
        return try await connection.copyIn(IngestStatements.copyObservations) { (writer) throws(PostgresError) in
            for row in rows {
                try writer.beginRow(columns: 4)
                writer.int16(row.shard)
                writer.int64(row.node)
                writer.timestamp(Timestamp(milliseconds: row.timeMs))
                writer.double(row.value)
            }
        }
    }

    private static func merge(
        _ rows: [IngestChunk.Row], _ connection: PostgresConnection
    ) async throws -> (spans: [IngestChunk.Span], added: Int) {
        var spans: [IngestChunk.Span] = []
        var added = 0
        var start = 0
        while start < rows.count {
            let slice = rows[start..<min(start + Self.mergeSlice, rows.count)]
            start = slice.endIndex
            let result = try await connection.query(
                IngestStatements.mergeObservations,
                [
                    .int16Array(slice.map(\.shard)), .int64Array(slice.map(\.node)),
                    .timestampArray(slice.map { Timestamp(milliseconds: $0.timeMs) }),
                    .doubleArray(slice.map(\.value)),
                ])
            for row in result {
                let (shard, node, first, last, count) = try row.decode(
                    (Int16, Int64, Timestamp, Timestamp, Int).self)
                spans.append(
                    .init(shard: shard, node: node, firstMs: first.milliseconds, lastMs: last.milliseconds))
                added += count
            }
        }
        return (spans, added)
    }

    /// The log row and the key's row, in one round trip.
    private static func log(
        _ spans: [IngestChunk.Span], _ stored: Stored, _ answer: (IdempotencyKey, StoredAnswer)?,
        _ connection: PostgresConnection
    ) async throws {
        var queries: [PostgresQuery] = []
        if stored.added > 0 {
            let mask = spans.reduce(UInt64(0)) { $0 | 1 << UInt64($1.shard) }
            queries.append(
                PostgresQuery(
                    IngestStatements.log,
                    [
                        .int64(Int64(bitPattern: mask)), .int64Array(spans.map(\.node)),
                        .timestampArray(spans.map { Timestamp(milliseconds: $0.firstMs) }),
                        .timestampArray(spans.map { Timestamp(milliseconds: $0.lastMs) }),
                        .int32(Int32(clamping: stored.added)),
                    ]))
        }
        if let (key, answer) = answer {
            queries.append(
                PostgresQuery(
                    IngestStatements.storeKey,
                    [
                        .text(key.caller), .text(key.key), .bytea(answer.payloadHash),
                        .int32(Int32(answer.status)), .bytea(answer.body),
                    ]))
        }
        _ = try await connection.pipeline(queries)
    }
}
