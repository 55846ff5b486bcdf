import Model
import Testing

@testable import GraphBuilder

@Suite("The verdict on a chaos trial")
struct ChaosSeenTests {
    private static func plan(_ json: (inout ChaosTrial) -> Void, _ kind: ChaosTrial.Kind) throws -> ChaosTrial.Plan {
        var trial = ChaosTrial(kind: kind)
        json(&trial)
        return try trial.plan()
    }

    private static let well = ChaosSeen.Sample(graphs: 6, compared: ChaosSeen.Compared(graphs: 6, differing: 0))
    private static func layer(_ failed: [Layer: Bool], troubled: Set<Layer>) -> ChaosSeen.Sample {
        ChaosSeen.Sample(failed: failed, troubled: troubled, graphs: 6)
    }

    private static func faults(
        _ plan: ChaosTrial.Plan, during: [ChaosSeen.Sample], after: ChaosSeen.Sample = Self.well, limitMs: Int = 50
    ) -> [String] {
        var seen = ChaosSeen(graphsBefore: 6)
        for sample in during { seen.during(sample) }
        _ = seen.afterwards(after, afterMs: 300)
        return seen.faults(of: plan, limitMs: limitMs)
    }

    @Test("a layer must fail alone, with its reason, be named by health, and come back")
    func layers() throws {
        let plan = try Self.plan({ $0.layer = "L2" }, .layer)
        let right = Self.layer([.crossMarket: true], troubled: [.crossMarket])
        #expect(Self.faults(plan, during: [Self.well, right]).isEmpty)
        #expect(Self.faults(plan, during: [Self.well]).count == 2)
        #expect(
            Self.faults(plan, during: [Self.layer([.crossMarket: false], troubled: [.crossMarket])])
                == ["graphs did not say why L2 failed"])
        #expect(
            Self.faults(plan, during: [right, Self.layer([.direct: true], troubled: [])]) == ["L1 failed as well"])
        #expect(Self.faults(plan, during: [right], after: right) == ["it did not come back to what was before"])
        var other = Self.well
        other.compared = ChaosSeen.Compared(graphs: 6, differing: 1)
        #expect(Self.faults(plan, during: [right], after: other) == ["1 of 6 graphs have another id than before"])
        #expect(ChaosSeen(graphsBefore: 0).faults(of: plan, limitMs: 50).contains { $0.contains("no graph in memory") })
    }

    @Test("a slow database must be seen by every read: stopped at the limit, or as slow as was asked for")
    func slow() throws {
        let long = try Self.plan({ $0.delayMs = 400 }, .slowDatabase)
        let stopped = ChaosSeen.Sample(read: .timedOut, readMs: 52, graphs: 6)
        let answered = ChaosSeen.Sample(readMs: 410, graphs: 6)
        #expect(Self.faults(long, during: [stopped]).isEmpty)
        #expect(Self.faults(long, during: [stopped, answered]) == ["1 reads were not stopped at 50 ms"])
        #expect(Self.faults(long, during: [answered], limitMs: 1_000).isEmpty)
        #expect(Self.faults(long, during: [ChaosSeen.Sample(readMs: 3, graphs: 6)], limitMs: 1_000).count == 1)
        #expect(
            Self.faults(long, during: [ChaosSeen.Sample(read: .timedOut, graphs: 0)])
                == ["graphs were lost from memory"])
        #expect(Self.faults(long, during: [stopped, ChaosSeen.Sample(read: .failed, graphs: 6)]).count == 1)
    }

    @Test("building must be shed at the ceiling of memory, and what ends at once must be back")
    func others() throws {
        let memory = try Self.plan({ _ in }, .memory)
        #expect(Self.faults(memory, during: [ChaosSeen.Sample(graphs: 6, isShedding: true)]).isEmpty)
        #expect(Self.faults(memory, during: [Self.well]) == ["building was never shed"])
        let worker = try Self.plan({ _ in }, .workerKill)
        #expect(Self.faults(worker, during: []).isEmpty)
        #expect(Self.faults(worker, during: [], after: ChaosSeen.Sample(graphs: 0)).count == 1)
        #expect(Self.faults(worker, during: [], after: ChaosSeen.Sample(read: .failed, graphs: 6)).count == 1)
    }

    @Test("the book keeps the latest trials and those that go on, and takes no more than it can look at")
    func book() throws {
        let book = ChaosBook()
        func entry(_ number: Int, _ state: ChaosBook.Result.State) -> ChaosBook.Entry {
            ChaosBook.Entry(
                id: "\(number)", replica: "here", startedAt: Timestamp(milliseconds: 0), kind: .memory, seconds: 1,
                expectation: "", done: "", result: .init(state: state, faults: [], seen: ChaosSeen(graphsBefore: 0)))
        }
        book.add(entry(0, .running))
        for number in 1...50 { book.add(entry(number, .met)) }
        #expect(book.latest.count == ChaosBook.capacity)
        #expect(book.latest.first?.id == "50" && book.latest.last?.id == "0")
        #expect(book.isRunning("0"))
        for number in 60..<67 { book.add(entry(number, .running)) }
        #expect(throws: Problem.self) { try book.requireRoom() }
        book.note(.init(state: .notMet, faults: ["x"], seen: ChaosSeen(graphsBefore: 0)), of: "0")
        #expect(throws: Never.self) { try book.requireRoom() }
    }
}
