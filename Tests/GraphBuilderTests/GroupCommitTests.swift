import Foundation
import Model
import Postgres
import Synchronization
import TestSupport
import Testing

@testable import GraphBuilder

@Suite("Group commit")
struct GroupCommitTests {
    typealias Ingest = IngestStorageTests

    /// Sends bodies at the same time while the table is locked, so that all but the first wait and go together.
    static func together(
        _ pool: PostgresPool, _ service: IngestService, _ bodies: [(text: String, key: String?)]
    ) async throws -> [Result<IngestAnswer, any Error>] {
        try await withThrowingTaskGroup(of: (Int, Result<IngestAnswer, any Error>).self) { group in
            try await pool.withTransaction { connection in
                try await connection.query("LOCK TABLE ingest_log IN ACCESS EXCLUSIVE MODE")
                for (index, body) in bodies.enumerated() {
                    group.addTask {
                        do {
                            let answer = try await Ingest.send(service, body.text, key: body.key).answer
                            return (index, .success(answer))
                        } catch {
                            return (index, .failure(error))
                        }
                    }
                }
                // The first two groups hang at the lock with one job each, or two that came at once; the others wait behind.
                let deadline = ContinuousClock.now + .seconds(5)
                while service.waitingForCommit.jobs < bodies.count - 2, ContinuousClock.now < deadline {
                    try await Task.sleep(for: .milliseconds(5))
                }
            }
            var answers = [Result<IngestAnswer, any Error>?](repeating: nil, count: bodies.count)
            for try await (index, answer) in group { answers[index] = answer }
            return answers.compactMap { $0 }
        }
    }

    static func logRows(_ pool: PostgresPool) async throws -> [Int] {
        try await pool.query("SELECT row_count FROM ingest_log ORDER BY batch_id").column(Int.self)
    }

    @Test("bodies that wait together become durable in one transaction, each with its own answer")
    func oneTransaction() async throws {
        try await Ingest.with { pool in
            let service = Ingest.service(pool)
            let bodies = (0..<10).map { index in
                (0...index).map { Ingest.line($0, node: index) }.joined(separator: "\n")
            }
            let answers = try await Self.together(pool, service, bodies.map { ($0, nil) })
            #expect(try answers.map { try $0.get().accepted } == Array(1...10))
            #expect(try answers.allSatisfy { try $0.get().duplicates == 0 })
            #expect(try await Ingest.stored(pool).count == 55)
            let log = try await Self.logRows(pool)
            #expect((2...3).contains(log.count) && log.reduce(0, +) == 55)
        }
    }

    @Test("one body with known observations or a bad key spoils nothing for those it waits with")
    func blameless() async throws {
        try await Ingest.with { pool in
            let service = Ingest.service(pool)
            _ = try await Ingest.send(service, Ingest.line(0, node: 7), key: "used")
            var bodies: [(text: String, key: String?)] = (0..<6).map { (Ingest.line(1, node: $0), "key-\($0)") }
            bodies.append((Ingest.line(0, node: 7) + "\n" + Ingest.line(1, node: 7), nil))
            // Another process works on this key.
            bodies.append((Ingest.line(5, node: 8), "taken"))
            // The same observation twice in one group.
            bodies.append((Ingest.line(9, node: 9), nil))
            bodies.append((Ingest.line(9, node: 9), nil))
            let answers = try await pool.withTransaction { connection in
                #expect(try await connection.tryLock(IdempotencyKey(caller: "me", key: "taken").lock))
                return try await Self.together(pool, service, bodies)
            }
            for answer in answers.prefix(6) { #expect(try answer.get().accepted == 1) }
            #expect(try answers[6].get().accepted == 2 && answers[6].get().duplicates == 1)
            #expect {
                try answers[7].get()
            } throws: {
                ($0 as? Problem)?.code == .idempotencyInFlight
            }
            #expect(try answers[8].get().duplicates + answers[9].get().duplicates == 1)
            #expect(try await Ingest.stored(pool).count == 1 + 6 + 1 + 1)
            // Every key has its answer, and gives it again.
            for index in 0..<6 {
                let again = try await Ingest.send(service, Ingest.line(1, node: index), key: "key-\(index)")
                #expect(again.reply.isReplayed && again.answer.accepted == 1)
            }
            let counts = try await pool.query("SELECT count(*) FROM idempotency_keys").column(Int.self)
            #expect(counts == [7])
        }
    }

    @Test("callers of a commit that comes to no end are told to come back; what waited behind it is never begun")
    func standstill() async throws {
        let gate = Mutex<[CheckedContinuation<Void, Never>]?>([])
        let begun = Mutex(0)
        var limits = CommitQueue.Limits()
        limits.running = 1
        let groups = CommitGroups(limits: limits, patience: .milliseconds(200)) { jobs in
            begun.withLock { $0 += jobs.count }
            await withCheckedContinuation { continuation in
                let waits = gate.withLock { $0?.append(continuation) } != nil
                if !waits { continuation.resume() }
            }
            return jobs.map { .success(.stored(.init(added: $0.chunk.rows.count), answer: nil)) }
        }
        var chunk = IngestChunk()
        chunk.append(.init(shard: 0, node: 1, timeMs: 0, value: 0))
        let job = IngestJob(chunk: chunk)
        let begin = ContinuousClock.now
        await withTaskGroup(of: Void.self) { group in
            for index in 0..<5 {
                // Two that come at once may go together; the others are to find the first at the gate.
                while index == 1, gate.withLock({ $0?.isEmpty == true }), begin.duration(to: .now) < .seconds(5) {
                    await Task.yield()
                }
                group.addTask {
                    await #expect {
                        _ = try await groups.submit(job).get()
                    } throws: {
                        ($0 as? Problem)?.code == .unavailable && ($0 as? Problem)?.retryAfter != nil
                    }
                }
            }
        }
        #expect(begin.duration(to: .now) < .seconds(5))
        #expect(groups.waiting == (0, 0))
        let open = gate.withLock { gates in
            defer { gates = nil }
            return gates ?? []
        }
        for continuation in open { continuation.resume() }
        // The one that had begun ends without anybody, and the next is served as ever.
        guard case .stored(let stored, _) = try await groups.submit(job).get() else {
            Issue.record("it was not stored")
            return
        }
        #expect(stored.added == 1 && begun.withLock { $0 } == 2)
    }

    /// Seen to fail: without a bound for waiting rows: nothing is refused.
    @Test("when too much waits, the next is refused with the time the queue needs, and what waits is not lost")
    func full() async throws {
        // What waits at the gate; nil once it is open.
        let gate = Mutex<[CheckedContinuation<Void, Never>]?>([])
        var limits = CommitQueue.Limits()
        limits.running = 1
        limits.waitingRows = 10
        let groups = CommitGroups(limits: limits) { jobs in
            await withCheckedContinuation { continuation in
                let waits = gate.withLock { $0?.append(continuation) } != nil
                if !waits { continuation.resume() }
            }
            return jobs.map { .success(.stored(.init(added: $0.chunk.rows.count), answer: nil)) }
        }
        func job(_ rows: Int) -> IngestJob {
            var chunk = IngestChunk()
            for index in 0..<rows { chunk.append(.init(shard: 0, node: 1, timeMs: Int64(index), value: 0)) }
            return IngestJob(chunk: chunk)
        }
        try await withThrowingTaskGroup(of: Int.self) { group in
            for rows in [1, 6, 4] {
                let waiting = groups.waiting.jobs
                group.addTask {
                    guard case .stored(let stored, _) = try await groups.submit(job(rows)).get() else { return -1 }
                    return stored.added
                }
                while groups.waiting.jobs == waiting, rows > 1 { await Task.yield() }
                while rows == 1, gate.withLock({ $0?.isEmpty == true }) { await Task.yield() }
            }
            @Sendable func open() {
                let waiting = gate.withLock { gates in
                    defer { gates = nil }
                    return gates ?? []
                }
                for continuation in waiting { continuation.resume() }
            }
            // What is not refused waits for the gate, for good.
            let rescue = Task { @Sendable in
                try await Task.sleep(for: .seconds(20))
                open()
            }
            await #expect {
                try await groups.submit(job(1))
            } throws: {
                guard let problem = $0 as? Problem, let seconds = problem.retryAfter else { return false }
                return problem.code == .overloaded && seconds >= 1
            }
            rescue.cancel()
            open()
            var added = 0
            for try await rows in group { added += rows }
            #expect(added == 11)
        }
    }

    @Test("rows of several chunks are merged into the order of the key", arguments: [0, 1, 2, 5, 9])
    func merging(chunks: Int) {
        var generator = SeededGenerator(seed: UInt64(chunks) + 3)
        let parts = (0..<chunks).map { _ in
            (0..<Int.random(in: 0...40, using: &generator)).map { _ in
                IngestChunk.Row(
                    shard: Int16.random(in: 0...2, using: &generator), node: Int64.random(in: 0...3, using: &generator),
                    timeMs: Int64.random(in: 0...9, using: &generator), value: 0.5)
            }.sorted(by: IngestChunk.Row.isBefore)
        }
        #expect(IngestChunk.merged(parts) == parts.flatMap { $0 }.sorted(by: IngestChunk.Row.isBefore))
    }
}
