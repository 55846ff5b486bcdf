import Crypto
import Model
import NIOCore
import Postgres

/// One body on its way into the database.
struct IngestRun {
    private let head: IngestService.Head
    private let settings: IngestService.Settings
    private let writer: IngestWriter
    private var decoder: IngestDecoder
    private let inflater: GzipInflater?
    private var hash = SHA256()
    private var received = 0
    private var accepted = 0
    private var duplicates = 0
    private var batches = 0

    var rejected: Int { self.decoder.rejected }

    init(
        head: IngestService.Head, settings: IngestService.Settings, nodes: NodeTable, now: Timestamp,
        writer: IngestWriter
    ) throws(Problem) {
        self.head = head
        self.settings = settings
        self.writer = writer
        self.decoder = IngestDecoder(
            format: head.format, nodes: nodes, now: now,
            linesPerChunk: head.format == .lines ? settings.linesPerCommit : nil)
        self.inflater = head.isGzip ? try GzipInflater(limit: settings.inflatedLimit) : nil
    }

    mutating func read<Body: AsyncSequence>(_ body: Body) async throws -> IngestService.Reply
    where Body.Element == ByteBuffer {
        // A key that was used before must not bring in a single observation of another body: then the body is only hashed.
        var stored: StoredAnswer?
        if let key = self.head.key { stored = try await self.writer.answer(for: key) }
        for try await buffer in body {
            try Task.checkCancellation()
            self.received += buffer.readableBytes
            guard self.received <= self.settings.bodyLimit else {
                throw Problem(.bodyTooLarge, detail: "The body is larger than \(self.settings.bodyLimit) bytes.")
            }
            for piece in try self.inflated(buffer) {
                if self.head.key != nil { piece.withUnsafeReadableBytes { self.hash.update(bufferPointer: $0) } }
                if stored == nil { try await self.decode(piece) }
            }
        }
        try self.inflater?.finish()
        if let stored { return try self.replay(stored) }
        try self.decoder.finish()
        return try await self.finish()
    }

    /// The buffer itself, or what it inflates to, in pieces.
    private func inflated(_ buffer: ByteBuffer) throws(Problem) -> [ByteBuffer] {
        guard let inflater = self.inflater else { return [buffer] }
        var pieces: [ByteBuffer] = []
        let outcome: Result<Void, Problem> = buffer.withUnsafeReadableBytes { bytes in
            do throws(Problem) {
                try inflater.feed(bytes.bindMemory(to: UInt8.self)) { (piece) throws(Problem) in
                    pieces.append(ByteBuffer(bytes: piece))
                }
                return .success(())
            } catch {
                return .failure(error)
            }
        }
        try outcome.get()
        return pieces
    }

    private mutating func decode(_ piece: ByteBuffer) async throws {
        var piece = piece
        while piece.readableBytes > 0 {
            let used = try self.feed(piece)
            piece.moveReaderIndex(forwardBy: used)
            if piece.readableBytes > 0 { try await self.commitChunk() }
        }
    }

    private mutating func feed(_ piece: ByteBuffer) throws(Problem) -> Int {
        let outcome: Result<Int, Problem> = piece.withUnsafeReadableBytes { bytes in
            do throws(Problem) {
                return .success(try self.decoder.feed(bytes.bindMemory(to: UInt8.self)))
            } catch {
                return .failure(error)
            }
        }
        return try outcome.get()
    }

    private mutating func commitChunk() async throws {
        let chunk = self.decoder.takeChunk()
        guard !chunk.isEmpty else { return }
        if case .stored(let stored, _) = try await self.writer.commit(chunk) { self.count(chunk, stored) }
    }

    private mutating func count(_ chunk: IngestChunk, _ stored: IngestWriter.Stored) {
        self.accepted += chunk.rows.count
        self.duplicates += stored.duplicates
        self.batches += 1
    }

    private mutating func finish() async throws -> IngestService.Reply {
        guard self.decoder.items > 0 else {
            throw Problem(.invalidRequest, detail: "The body holds no observations.")
        }
        guard self.decoder.items > self.decoder.rejected else {
            throw IngestAnswer.allRejected(self.decoder.verdicts, count: self.decoder.items)
        }
        let chunk = self.decoder.takeChunk()
        guard let key = self.head.key else {
            if !chunk.isEmpty, case .stored(let stored, _) = try await self.writer.commit(chunk) {
                self.count(chunk, stored)
            }
            return .init(status: 200, body: try self.answer.encoded())
        }
        let hash = Array(self.hash.finalize())
        let base = self.answer
        let count = chunk.rows.count
        let outcome = try await self.writer.commit(
            chunk,
            completion: .init(key: key, payloadHash: hash) { stored in
                var answer = base
                if count > 0 {
                    answer.accepted += count
                    answer.duplicates += stored.duplicates
                    answer.batches += 1
                }
                return StoredAnswer(payloadHash: hash, status: 200, body: try answer.encoded())
            })
        switch outcome {
        case .replay(let answer): return .init(status: answer.status, body: answer.body, isReplayed: true)
        case .stored(_, let answer):
            guard let answer else { throw Problem(.internalError, detail: "The answer was not stored.") }
            return .init(status: answer.status, body: answer.body)
        }
    }

    /// What the chunks committed so far amount to.
    private var answer: IngestAnswer {
        IngestAnswer(
            accepted: self.accepted, duplicates: self.duplicates, rejected: self.decoder.rejected,
            errors: self.decoder.verdicts, batches: self.batches)
    }

    private mutating func replay(_ stored: StoredAnswer) throws(Problem) -> IngestService.Reply {
        guard stored.payloadHash == Array(self.hash.finalize()) else { throw IdempotencyKey.mismatch }
        return .init(status: stored.status, body: stored.body, isReplayed: true)
    }
}
