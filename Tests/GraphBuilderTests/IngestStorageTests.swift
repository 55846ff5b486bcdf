import Foundation
import Logging
import Model
import NIOCore
import Postgres
import TestSupport
import Testing

@testable import GraphBuilder

@Suite("Ingest: storing")
struct IngestStorageTests {
    static let now = Timestamp(milliseconds: 1_700_000_000_000)

    static func service(_ pool: PostgresPool, lines: Int = 10_000) -> IngestService {
        var settings = IngestService.Settings()
        settings.linesPerCommit = lines
        return IngestService(
            pool: pool, notifier: IngestNotifier(), partitions: ObservationPartitions(logger: .silent),
            settings: settings, logger: .silent, now: { Self.now })
    }

    static func line(_ index: Int, node: Int = 0, value: Double? = nil) -> String {
        """
        {"domain":"d","event":"e\(node)","market":"m","venue":"v","time":\(1_600_000_000_000 + index * 1_000),\
        "value":\(value ?? Double(index) / 4)}
        """
    }

    /// Sends a body in pieces of 10,000 bytes.
    static func send(
        _ service: IngestService, _ text: String, _ format: BodyScanner.Format = .lines, key: String? = nil,
        caller: String = "me"
    ) async throws -> (answer: IngestAnswer, reply: IngestService.Reply) {
        var head = IngestService.Head(format: format)
        if let key { head.key = try IdempotencyKey(caller: caller, key: key) }
        let bytes = Array(text.utf8)
        let pieces = stride(from: 0, to: bytes.count, by: 10_000).map {
            ByteBuffer(bytes: bytes[$0..<min($0 + 10_000, bytes.count)])
        }
        let body = AsyncStream<ByteBuffer> { continuation in
            for piece in pieces { continuation.yield(piece) }
            continuation.finish()
        }
        let reply = try await service.ingest(head, body: body)
        return (try JSONDecoder().decode(IngestAnswer.self, from: Data(reply.body)), reply)
    }

    static func with(_ body: (PostgresPool) async throws -> Void) async throws {
        try await TestDatabase.with { database in try await database.withPool { try await body($0) } }
    }

    static func stored(_ pool: PostgresPool) async throws -> [String] {
        try await pool.query(
            """
            SELECT n.event_id || ' ' || extract(epoch FROM observed_at)::bigint || ' ' || value
            FROM observations o JOIN nodes n USING (shard, node_id) ORDER BY 1
            """
        ).column(String.self)
    }

    @Test("what is acknowledged is stored once: identical triples are one, different values are kept")
    func duplicates() async throws {
        try await Self.with { pool in
            let service = Self.service(pool)
            let lines = (0..<100).map { Self.line($0, node: $0 % 3) }
            let first = try await Self.send(service, lines.joined(separator: "\n")).answer
            #expect(first.accepted == 100 && first.duplicates == 0 && first.batches == 1 && first.rejected == 0)
            let again = try await Self.send(service, (lines + [Self.line(100)] + lines).joined(separator: "\n")).answer
            #expect(again.accepted == 201 && again.duplicates == 200)
            let other = try await Self.send(service, Self.line(0, value: 99)).answer
            #expect(other.duplicates == 0)
            #expect(try await Self.stored(pool).count == 102)
            let log = try await pool.query("SELECT sum(row_count)::bigint, count(*) FROM ingest_log")
            let (rows, batches) = try log[0].decode((Int, Int).self)
            #expect(rows == 102 && batches == 3)
        }
    }

    @Test("order and batching do not change what is stored")
    func orderIndependence() async throws {
        let lines = (0..<300).map { Self.line($0 % 200, node: $0 % 5, value: Double($0 % 11)) }
        var results: [[String]] = []
        for (seed, size) in [(0, 10_000), (7, 37), (13, 100)] {
            try await Self.with { pool in
                let service = Self.service(pool, lines: size)
                let order = lines.indices.sorted { ($0 &* 7_919 &* seed) % 307 < ($1 &* 7_919 &* seed) % 307 }
                _ = try await Self.send(service, order.map { lines[$0] }.joined(separator: "\n"))
                results.append(try await Self.stored(pool))
            }
        }
        #expect(results[0] == results[1] && results[1] == results[2] && !results[0].isEmpty)
    }

    @Test("one bad line in ten thousand: the others land and the answer names the line")
    func oneBadLine() async throws {
        try await Self.with { pool in
            var lines = (0..<10_000).map { Self.line($0) }
            lines[6_789] = lines[6_789].replacing("\"value\":", with: "\"value\":NaN,\"x\":")
            let answer = try await Self.send(Self.service(pool, lines: 4_000), lines.joined(separator: "\n")).answer
            #expect(answer.accepted == 9_999 && answer.rejected == 1 && answer.batches == 3)
            #expect(answer.errors.map(\.line) == [6_790] && answer.errors.first?.field == "value")
            #expect(try await pool.query("SELECT count(*) FROM observations").column(Int.self) == [9_999])
        }
    }

    @Test("an array lands in one transaction; an empty body and one without a valid item are 400")
    func arrays() async throws {
        try await Self.with { pool in
            let service = Self.service(pool, lines: 2)
            let answer = try await Self.send(
                service, "[" + (0..<9).map { Self.line($0) }.joined(separator: ",") + "]", .array)
            #expect(answer.answer.accepted == 9 && answer.answer.batches == 1)
            for text in ["[]", "[{}]"] {
                let error = await #expect(throws: Problem.self) { try await Self.send(service, text, .array) }
                #expect(error?.code == .invalidRequest)
            }
            let error = await #expect(throws: Problem.self) { try await Self.send(service, "\n\n") }
            #expect(error?.code == .invalidRequest)
        }
    }

    @Test("the same key and body are answered again, another body is 422 and brings nothing in")
    func idempotency() async throws {
        try await Self.with { pool in
            let service = Self.service(pool, lines: 5)
            let text = (0..<12).map { Self.line($0) }.joined(separator: "\n")
            let first = try await Self.send(service, text, key: "k1")
            #expect(!first.reply.isReplayed && first.answer.accepted == 12 && first.answer.batches == 3)
            let again = try await Self.send(service, text, key: "k1")
            #expect(again.reply.isReplayed && again.reply.body == first.reply.body)
            let error = await #expect(throws: Problem.self) {
                try await Self.send(service, Self.line(77), key: "k1")
            }
            #expect(error?.code == .idempotencyMismatch)
            #expect(try await pool.query("SELECT count(*) FROM observations").column(Int.self) == [12])
            let other = try await Self.send(service, text, key: "k1", caller: "you")
            #expect(!other.reply.isReplayed && other.answer.duplicates == 12)
        }
    }

    @Test("a key that is being worked on is 409, in this process and in another")
    func keyInFlight() async throws {
        try await Self.with { pool in
            let service = Self.service(pool)
            let key = try IdempotencyKey(caller: "me", key: "k")
            try await pool.withTransaction { connection in
                try await connection.lock(key.lock)
                let error = await #expect(throws: Problem.self) {
                    try await Self.send(service, Self.line(1), key: "k")
                }
                #expect(error?.code == .idempotencyInFlight)
            }
            let replies = try await withThrowingTaskGroup(of: String.self) { group in
                for _ in 0..<8 {
                    group.addTask {
                        do {
                            return try await Self.send(service, Self.line(1), key: "k").reply.isReplayed
                                ? "replayed" : "done"
                        } catch let problem as Problem { return problem.code.rawValue }
                    }
                }
                return try await group.reduce(into: [String]()) { $0.append($1) }
            }
            #expect(replies.filter { $0 == "done" }.count == 1)
            #expect(Set(replies).isSubset(of: ["done", "replayed", "idempotency-in-flight"]))
            #expect(try await pool.query("SELECT count(*) FROM observations").column(Int.self) == [1])
        }
    }

    @Test("two senders of the same observations at once lose nothing and do not block each other")
    func concurrentSenders() async throws {
        try await Self.with { pool in
            let services = [Self.service(pool, lines: 500), Self.service(pool, lines: 300)]
            let lines = (0..<3_000).map { Self.line($0 / 3, node: $0 % 3) }
            let duplicates = try await withThrowingTaskGroup(of: Int.self) { group in
                for (index, service) in (services + services).enumerated() {
                    let text = (index % 2 == 0 ? lines : lines.reversed()).joined(separator: "\n")
                    group.addTask { try await Self.send(service, text).answer.duplicates }
                }
                return try await group.reduce(0, +)
            }
            #expect(duplicates == 9_000)
            #expect(try await pool.query("SELECT count(*) FROM observations").column(Int.self) == [3_000])
        }
    }

    @Test("a batch that commits late is still read from the log, after others that were read before it")
    func lateCommit() async throws {
        try await Self.with { pool in
            let service = Self.service(pool)
            try await pool.withConnection { reader in
                var tail = try await LogTail.atHorizon(reader)
                try await pool.withTransaction { late in
                    // A batch of another process that has its transaction id and hangs before COMMIT.
                    try await late.query(
                        "INSERT INTO ingest_log (shard_mask, node_ids, first_at, last_at, row_count) VALUES (1, '{42}', '{2020-01-01}', '{2020-01-01}', 1)"
                    )
                    _ = try await Self.send(service, Self.line(1))
                    let page = try await tail.next(reader)
                    #expect(page.touched.isEmpty, "a younger batch must wait for the older one that still runs")
                    tail = page.tail
                }
                _ = try await Self.send(service, Self.line(2))
                var nodes: Set<Int64> = []
                for _ in 0..<50 where nodes.count < 2 {
                    let page = try await tail.next(reader)
                    tail = page.tail
                    nodes.formUnion(page.touched.map(\.node.rawValue))
                    try await Task.sleep(for: .milliseconds(20))
                }
                #expect(nodes.contains(42) && nodes.count == 2)
            }
        }
    }

    @Test("connections killed at random moments lose nothing acknowledged, and a second sending completes the rest")
    func killedConnections() async throws {
        try await Self.with { pool in
            let service = Self.service(pool, lines: 200)
            let text = (0..<4_000).map { Self.line($0, node: $0 % 4) }.joined(separator: "\n")
            let killer = Task {
                while !Task.isCancelled {
                    _ = try? await pool.query(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < 0.5"
                    )
                    try? await Task.sleep(for: .milliseconds(15))
                }
            }
            for _ in 0..<3 { _ = try? await Self.send(service, text) }
            killer.cancel()
            await killer.value
            var answer: IngestAnswer?
            for _ in 0..<20 where answer == nil { answer = try? await Self.send(service, text).answer }
            #expect(answer?.accepted == 4_000)
            #expect(try await pool.query("SELECT count(*) FROM observations").column(Int.self) == [4_000])
            let logged = try await pool.query("SELECT sum(row_count)::bigint FROM ingest_log")
            #expect(try logged.column(Int.self) == [4_000])
        }
    }

    @Test("a client that goes away leaves whole chunks or nothing")
    func clientGone() async throws {
        struct Gone: Error {}
        try await Self.with { pool in
            let service = Self.service(pool, lines: 10)
            let text = (0..<25).map { Self.line($0) }.joined(separator: "\n")
            let body = AsyncThrowingStream<ByteBuffer, any Error> { continuation in
                continuation.yield(ByteBuffer(string: text))
                continuation.finish(throwing: Gone())
            }
            try await pool.query("SELECT 1")
            await #expect(throws: Gone.self) { try await service.ingest(.init(format: .lines), body: body) }
            #expect(try await pool.query("SELECT count(*) FROM observations").column(Int.self) == [20])
            #expect(service.admission.running == 0)
        }
    }

    @Test("when all places are taken the next one is refused with a time to wait")
    func overloaded() async throws {
        let admission = IngestAdmission(limit: 2)
        try admission.enter()
        try admission.enter()
        let error = #expect(throws: Problem.self) { try admission.enter() }
        #expect(error?.code == .overloaded && (error?.retryAfter ?? 0) >= 1)
        admission.leave(after: .seconds(30))
        try admission.enter()
    }

    @Test("old answers are purged, and a notification goes out after a commit")
    func housekeeping() async throws {
        try await TestDatabase.with { database in
            try await database.withPool { pool in
                let notifier = IngestNotifier()
                let service = IngestService(pool: pool, notifier: notifier, logger: .silent, now: { Self.now })
                let listener = try PostgresListener(
                    configuration: database.configuration, channels: ["ingest"], logger: .silent)
                var notes = listener.notifications().makeAsyncIterator()
                #expect(await notes.next() == .listening)
                let runner = Task { await notifier.run(pool: pool) }
                _ = try await Self.send(service, Self.line(1), key: "k")
                #expect(await notes.next() == .notified(channel: "ingest", payload: ""))
                runner.cancel()
                await runner.value
                #expect(try await service.purgeKeys(pool: pool) == 0)
                try await pool.query("UPDATE idempotency_keys SET created_at = now() - interval '2 days'")
                #expect(try await service.purgeKeys(pool: pool) == 1)
            }
        }
    }

    @Test("times that need more partitions than are kept are refused as the sender's mistake")
    func tooManyDays() async throws {
        try await Self.with { pool in
            let service = IngestService(
                pool: pool, notifier: IngestNotifier(), partitions: ObservationPartitions(limit: 2, logger: .silent),
                logger: .silent, now: { Self.now })
            let text = (0..<5).map { Self.line($0 * 86_400) }.joined(separator: "\n")
            let error = await #expect(throws: Problem.self) { try await Self.send(service, text) }
            #expect(error?.code == .invalidRequest)
        }
    }
}
