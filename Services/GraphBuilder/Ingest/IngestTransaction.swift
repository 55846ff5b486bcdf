import Model
import Postgres

/// What one transaction of the ingest path does for the jobs it was given: unknown nodes, observations, one row of the log, and
/// the answers of those jobs that end a keyed request.
struct IngestTransaction {
    typealias Outcome = Result<IngestWriter.Outcome, Problem>

    /// Rows per merging statement.
    private static let mergeSlice = 10_000

    let connection: PostgresConnection

    /// All observations by COPY; fails with `.uniqueViolation` when one of them is known, also from another job.
    /// - Returns: one outcome a job, in their order; a failed one wrote nothing.
    func copy(_ jobs: [IngestJob]) async throws -> [Outcome] {
        var outcomes = try await self.claim(jobs)
        let open = jobs.indices.filter { outcomes[$0] == nil }
        try await self.storeNodes(open.reduce(into: [:]) { $0.merge(jobs[$1].chunk.newNodes) { first, _ in first } })
        let rows = IngestChunk.merged(open.map { jobs[$0].chunk.rows })
        var stored = IngestWriter.Stored()
        stored.added = try await self.copy(rows)
        var answers: [(IdempotencyKey, StoredAnswer)] = []
        for index in open {
            let own = IngestWriter.Stored(added: jobs[index].chunk.rows.count)
            let answer = try jobs[index].completion?.answer(own)
            if let answer, let key = jobs[index].completion?.key { answers.append((key, answer)) }
            outcomes[index] = .success(.stored(own, answer: answer))
        }
        try await self.log(IngestChunk.spans(of: rows), stored, answers)
        return outcomes.compactMap { $0 }
    }

    /// The observations that are not known yet.
    func merge(_ job: IngestJob) async throws -> Outcome {
        if let outcome = try await self.claim([job])[0] { return outcome }
        try await self.storeNodes(job.chunk.newNodes)
        var stored = IngestWriter.Stored()
        let spans: [IngestChunk.Span]
        (spans, stored.added) = try await self.merge(job.chunk.rows)
        stored.duplicates = job.chunk.rows.count - stored.added
        let answer = try job.completion?.answer(stored)
        var answers: [(IdempotencyKey, StoredAnswer)] = []
        if let answer, let key = job.completion?.key { answers.append((key, answer)) }
        try await self.log(spans, stored, answers)
        return .success(.stored(stored, answer: answer))
    }

    /// Takes the keys' locks and looks which were used. nil: the job goes on.
    private func claim(_ jobs: [IngestJob]) async throws -> [Outcome?] {
        var outcomes = [Outcome?](repeating: nil, count: jobs.count)
        var keyed: [(index: Int, completion: IngestWriter.Completion)] = []
        for (index, job) in jobs.enumerated() {
            guard let completion = job.completion else { continue }
            if try await self.connection.tryLock(completion.key.lock) {
                keyed.append((index, completion))
            } else {
                outcomes[index] = .failure(IdempotencyKey.inFlight)
            }
        }
        guard !keyed.isEmpty else { return outcomes }
        // Statements of their own, after the locks: they see what the locks' last holders committed.
        let found = try await self.connection.pipeline(
            keyed.map {
                PostgresQuery(
                    IngestStatements.findKey, [.text($0.completion.key.caller), .text($0.completion.key.key)])
            })
        for (entry, rows) in zip(keyed, found) {
            guard let answer = try StoredAnswer.decode(rows) else { continue }
            outcomes[entry.index] =
                answer.payloadHash == entry.completion.payloadHash
                ? .success(.replay(answer)) : .failure(IdempotencyKey.mismatch)
        }
        return outcomes
    }

    private func storeNodes(_ nodes: [Int64: NodeKey]) async throws {
        guard !nodes.isEmpty else { return }
        let nodes = nodes.sorted { $0.key < $1.key }
        let taken = try await self.connection.query(
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

    private func copy(_ rows: [IngestChunk.Row]) async throws -> Int {
        guard !rows.isEmpty else { return 0 }
        return try await self.connection.copyIn(IngestStatements.copyObservations) { (writer) throws(PostgresError) in
            for row in rows {
                try writer.beginRow(columns: 4)
                writer.int16(row.shard)
                writer.int64(row.node)
                writer.timestamp(Timestamp(milliseconds: row.timeMs))
                writer.double(row.value)
            }
        }
    }

    private func merge(_ rows: [IngestChunk.Row]) async throws -> (spans: [IngestChunk.Span], added: Int) {
        var spans: [IngestChunk.Span] = []
        var added = 0
        var start = 0
        while start < rows.count {
            let slice = rows[start..<min(start + Self.mergeSlice, rows.count)]
            start = slice.endIndex
            let result = try await self.connection.query(
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

    /// The log row and the keys' rows, in one round trip.
    private func log(
        _ spans: [IngestChunk.Span], _ stored: IngestWriter.Stored, _ answers: [(IdempotencyKey, StoredAnswer)]
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
        for (key, answer) in answers {
            queries.append(
                PostgresQuery(
                    IngestStatements.storeKey,
                    [
                        .text(key.caller), .text(key.key), .bytea(answer.payloadHash),
                        .int32(Int32(answer.status)), .bytea(answer.body),
                    ]))
        }
        guard !queries.isEmpty else { return }
        _ = try await self.connection.pipeline(queries)
    }
}
