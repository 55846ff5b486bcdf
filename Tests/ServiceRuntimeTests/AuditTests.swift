import Logging
import Model
import Postgres
import ServiceLifecycle
import Telemetry
import TestSupport
import Testing

@testable import ServiceRuntime

@Suite("The audit log")
struct AuditTests {
    static let start = Timestamp(milliseconds: 1_767_225_600_000)

    static func event(
        _ kind: AuditEvent.Kind, actor: String = "robot", peer: String = "192.0.2.7", afterMs: Int64 = 0
    ) -> AuditEvent {
        AuditEvent(
            kind, actor: actor, peer: peer, action: "GET /v1/events", status: kind == .refusal ? 429 : 200,
            code: kind == .refusal ? "rate-limited" : "", time: Self.start.advanced(byMilliseconds: afterMs))
    }

    @Test(
        "each level keeps what the one before keeps, and one kind more",
        arguments: [
            (AuditLevel.off, [AuditEvent.Kind]()), (.security, [.refusal, .security]),
            (.changes, [.refusal, .security, .change]), (.all, [.refusal, .security, .change, .request]),
        ])
    func levels(level: AuditLevel, kept: [AuditEvent.Kind]) {
        let kinds: [AuditEvent.Kind] = [.refusal, .security, .change, .request]
        var book = AuditBook(level: level)
        #expect(kinds.filter { book.note(Self.event($0)) } == kept)
        #expect(book.count == kept.count)
    }

    @Test("refusals alike are one row at once and one with their number at the end of the minute; nothing is lost")
    func counted() {
        var book = AuditBook(level: .security)
        for index in 0..<5_000 { book.note(Self.event(.refusal, afterMs: Int64(index) * 10)) }
        #expect(book.count == 1)
        book.closeWindows(now: Self.start.advanced(byMilliseconds: 59_999))
        #expect(book.count == 1)
        book.closeWindows(now: Self.start.advanced(byMilliseconds: 60_000))
        let rows = book.take(10)
        #expect(rows.map(\.count) == [1, 4_999])
        #expect(rows[1].event.time == Self.start.advanced(byMilliseconds: 10))
        #expect(rows[1].lastTime == Self.start.advanced(byMilliseconds: 49_990))
        book.note(Self.event(.refusal, afterMs: 61_000))
        #expect(book.take(10).map(\.count) == [1])
    }

    @Test("a flood of refusals from ever new names and addresses makes a bounded number of rows that count all of them")
    func flood() {
        var book = AuditBook(level: .all)
        let total = 50_000
        for index in 0..<total {
            book.note(Self.event(.refusal, actor: "a\(index % 7)", peer: "10.\(index / 256).\(index % 256).1"))
        }
        #expect(book.count <= AuditBook.kindLimit + 1)
        book.closeWindows(now: Self.start, isEnding: true)
        let rows = book.take(.max)
        #expect(rows.count <= 2 * (AuditBook.kindLimit + 1))
        #expect(rows.reduce(0) { $0 + $1.count } == total)
    }

    @Test("while nothing can be written rows wait in order, and what has no room is counted")
    func away() {
        var book = AuditBook(level: .all)
        for index in 0..<AuditBook.rowLimit + 5 { book.note(Self.event(.request, afterMs: Int64(index))) }
        #expect(book.count == AuditBook.rowLimit && book.takeDropped() == 5 && book.takeDropped() == 0)
        let taken = book.take(100)
        for index in 0..<30 { book.note(Self.event(.request, afterMs: 1_000_000 + Int64(index))) }
        book.putBack(taken)
        #expect(book.count == AuditBook.rowLimit && book.takeDropped() == 30)
        #expect(book.take(1).first == taken.first)
    }

    @Test("what is noted is in the table after the stop, by days; days behind the retention are dropped and no others")
    func table() async throws {
        try await TestDatabase.with { database in
            try await database.withPool { pool in
                let store = AuditStore(pool: pool, service: "gateway")
                let log = AuditLog(level: .changes, retentionDays: 7, store: store, logger: Logger(label: "audit"))
                let now = Timestamp(milliseconds: WallClock.milliseconds())
                let day: Int64 = 86_400_000
                for back in [20, 8, 7, 1] {
                    _ = try await store.upkeep(
                        now: now.advanced(byMilliseconds: -Int64(back) * day), retentionDays: 365)
                }
                var old = Self.event(.security)
                old.time = now.advanced(byMilliseconds: -20 * day)
                var kept = old
                kept.time = now.advanced(byMilliseconds: -7 * day)
                try await store.insert([AuditRow(event: old), AuditRow(event: kept)])
                let group = ServiceGroup(services: [log], logger: Logger(label: "group"))
                try await withThrowingTaskGroup(of: Void.self) { tasks in
                    tasks.addTask { try await group.run() }
                    for index in 0..<3_000 {
                        var event = Self.event(index % 3 == 0 ? .refusal : index % 3 == 1 ? .change : .request)
                        event.time = now
                        log.note(event)
                    }
                    await group.triggerGracefulShutdown()
                    try await tasks.waitForAll()
                }
                let entries = try await store.page(
                    from: now.advanced(byMilliseconds: -30 * day), to: now.advanced(byMilliseconds: 1), before: nil,
                    limit: 5_000)
                #expect(entries.filter { $0.kind == "change" }.count == 1_000)
                #expect(entries.filter { $0.kind == "refusal" }.map(\.row.count).sorted() == [1, 999])
                #expect(!entries.contains { $0.kind == "request" })
                #expect(entries.contains { $0.row.event.time == kept.time })
                #expect(!entries.contains { $0.row.event.time == old.time })
                #expect(entries.first?.row.event.actor == "robot" && entries.first?.service == "gateway")
                // Pages follow each other without a gap or an entry twice.
                var pages: [AuditStore.Entry] = []
                var before: (time: Timestamp, id: Int64)?
                while true {
                    let page = try await store.page(
                        from: now.advanced(byMilliseconds: -30 * day), to: now.advanced(byMilliseconds: 1),
                        before: before, limit: 97)
                    pages += page
                    guard let last = page.last, page.count == 97 else { break }
                    before = (last.row.event.time, last.id)
                }
                #expect(pages == entries)
            }
        }
    }
}
