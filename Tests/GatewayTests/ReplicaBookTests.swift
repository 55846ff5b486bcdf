import ServiceRuntime
import Testing

@testable import Gateway

extension ReplicaBook {
    /// A request that fails at once.
    fileprivate mutating func fail(_ address: String, now: Int64) { self.failed(address, sentAt: now, now: now) }
}

@Suite("Replicas in trouble")
struct ReplicaBookTests {
    private let second: Int64 = 1_000_000_000

    @Test("one failure makes a replica come last for two seconds, an answer to a later request ends that")
    func shunned() {
        var book = ReplicaBook()
        book.failed("a", sentAt: 0, now: self.second)
        #expect(book.state("a", now: 3 * self.second - 1) == .shunned)
        #expect(book.state("a", now: 3 * self.second) == .good)
        book.answered("a", sentAt: 0, now: 2 * self.second)
        #expect(book.state("a", now: 2 * self.second) == .shunned)
        book.answered("a", sentAt: self.second, now: 2 * self.second)
        #expect(book.state("a", now: 2 * self.second) == .good)
        // It is still counted, until the minute is over.
        #expect(!book.isEmpty)
        book.answered("a", sentAt: 61 * self.second, now: 61 * self.second)
        #expect(book.isEmpty)
    }

    @Test("five failures in a minute leave it out for 30 s; one trial decides, and a failed one doubles the time")
    func ejected() {
        var book = ReplicaBook()
        for index in 0..<4 { book.fail("a", now: Int64(index) * self.second) }
        #expect(book.state("a", now: 4 * self.second) == .shunned)
        book.fail("a", now: 4 * self.second)
        #expect(book.state("a", now: 33 * self.second) == .leftOut)
        #expect(book.ejectedCount(now: 33 * self.second) == 1)
        #expect(book.state("a", now: 35 * self.second) == .good)
        book.use("a", now: 35 * self.second)
        #expect(book.state("a", now: 36 * self.second) == .leftOut)
        // A trial that says nothing does not block for ever.
        #expect(book.state("a", now: 46 * self.second) == .good)
        book.use("a", now: 46 * self.second)
        book.failed("a", sentAt: 46 * self.second, now: 47 * self.second)
        #expect(book.state("a", now: 106 * self.second) == .leftOut)
        #expect(book.state("a", now: 107 * self.second) == .good)
        book.use("a", now: 107 * self.second)
        book.answered("a", sentAt: 107 * self.second, now: 108 * self.second)
        #expect(book.state("a", now: 108 * self.second) == .good)
    }

    @Test("answers in between do not make five failures in a minute fewer")
    func failuresAmongAnswers() {
        var book = ReplicaBook()
        for index in 0..<4 {
            book.fail("a", now: Int64(index) * 10 * self.second)
            book.answered(
                "a", sentAt: (Int64(index) * 10 + 1) * self.second, now: (Int64(index) * 10 + 2) * self.second)
        }
        #expect(book.state("a", now: 39 * self.second) == .good)
        book.fail("a", now: 40 * self.second)
        #expect(book.state("a", now: 41 * self.second) == .leftOut)
    }

    @Test("what was sent before a replica was left out neither brings it back nor keeps it out")
    func lateOutcomes() {
        var book = ReplicaBook()
        for index in 0..<5 { book.fail("a", now: Int64(index) * self.second) }
        book.answered("a", sentAt: 3 * self.second, now: 10 * self.second)
        #expect(book.state("a", now: 11 * self.second) == .leftOut)
        for _ in 0..<10 { book.failed("a", sentAt: 3 * self.second, now: 33 * self.second) }
        #expect(book.state("a", now: 34 * self.second) == .good)
        // One that is used because there is no other may show that it is well.
        book.answered("a", sentAt: 12 * self.second, now: 13 * self.second)
        #expect(book.state("a", now: 13 * self.second) == .good)
    }

    @Test("a replica that says it is not ready is left out until it is, one that does not answer twice as well")
    func checks() {
        var book = ReplicaBook()
        book.checked("a", .ready, now: 0)
        #expect(book.isEmpty)
        book.checked("a", .unready, now: 0)
        #expect(book.state("a", now: 1) == .leftOut && book.unreadyCount(now: 1) == 1)
        book.checked("a", .ready, now: self.second)
        #expect(book.state("a", now: self.second) == .good && book.isEmpty)
        book.checked("b", .unanswered, now: 0)
        #expect(book.state("b", now: 1) == .shunned)
        book.checked("b", .unanswered, now: self.second)
        #expect(book.state("b", now: 3 * self.second) == .leftOut)
        // Checks that stopped do not count for ever.
        #expect(book.state("b", now: 12 * self.second) == .good)
        book.checked("b", .ready, now: 12 * self.second)
        #expect(book.isEmpty)
        // A replica that was away for long and is there again is tried after the first pause.
        for _ in 0..<3 {
            for _ in 0..<5 { book.fail("c", now: 100 * self.second) }
            book.use("c", now: 140 * self.second)
            book.fail("c", now: 140 * self.second)
        }
        #expect(book.state("c", now: 199 * self.second) == .leftOut)
        book.checked("c", .ready, now: 160 * self.second)
        #expect(book.state("c", now: 171 * self.second) == .good)
    }

    @Test("how many failures within how long leave it out, and for how long, is what the settings say")
    func rule() {
        var book = ReplicaBook(rule: CircuitBreaker.Rule(failures: 2, window: .seconds(3), pause: .seconds(7)))
        book.fail("a", now: 0)
        book.fail("a", now: 3 * self.second)
        #expect(book.state("a", now: 4 * self.second) == .shunned)
        book.fail("a", now: 4 * self.second)
        #expect(book.state("a", now: 11 * self.second - 1) == .leftOut)
        #expect(book.state("a", now: 11 * self.second) == .good)
    }

    @Test("a trial that came to no verdict leaves it to the next request, unless another has begun since")
    func trialWithoutVerdict() {
        var book = ReplicaBook()
        for _ in 0..<5 { book.fail("a", now: 0) }
        book.saidNothing("a", sentAt: 1)
        #expect(book.state("a", now: 1) == .leftOut)
        book.use("a", now: 30 * self.second)
        book.saidNothing("a", sentAt: 29 * self.second)
        #expect(book.state("a", now: 31 * self.second) == .leftOut)
        book.saidNothing("a", sentAt: 30 * self.second)
        #expect(book.state("a", now: 31 * self.second) == .good)
        book.use("a", now: 32 * self.second)
        book.use("a", now: 42 * self.second)
        book.saidNothing("a", sentAt: 32 * self.second)
        #expect(book.state("a", now: 43 * self.second) == .leftOut)
    }

    @Test("replicas that were left out and never came back make room for new ones when the window is over")
    func pagesOfTheGone() {
        var book = ReplicaBook()
        for index in 0..<ReplicaBook.capacity {
            for _ in 0..<5 { book.fail("x\(index)", now: 0) }
        }
        let isNotYetOver = 90 * self.second - 1
        for _ in 0..<5 { book.fail("new", now: isNotYetOver) }
        #expect(book.state("new", now: isNotYetOver) == .good)
        for _ in 0..<5 { book.fail("new", now: 90 * self.second) }
        #expect(book.state("new", now: 90 * self.second) == .leftOut)
    }

    @Test("failures further apart than a minute do not add up, and the book stays bounded")
    func window() {
        var book = ReplicaBook()
        for index in 0..<20 { book.fail("a", now: Int64(index) * 20 * self.second) }
        #expect(book.state("a", now: 390 * self.second) == .good)
        for index in 0..<2_000 { book.fail("x\(index)", now: 400 * self.second) }
        #expect(book.state("x0", now: 400 * self.second) == .shunned)
        #expect(book.state("x1999", now: 400 * self.second) == .good)
    }
}
