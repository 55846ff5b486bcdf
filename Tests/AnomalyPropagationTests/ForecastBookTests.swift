import Engine
import Model
import Testing

@testable import AnomalyPropagation

@Suite("Forecast book")
struct ForecastBookTests {
    static let source = Fixture.node("front")
    static let target = Fixture.node("back")
    static let edge = Fixture.edge(source, target)

    /// A book that knows the pair, without a past.
    static func fresh() -> ForecastBook {
        var book = ForecastBook()
        let pairs = book.unknownPairs(in: [Fixture.move(source, minute: 1, by: 1, edges: [edge])])
        book.restore(pairs, calibrators: [:])
        return book
    }

    static func moves(_ minutes: [Int64]) -> [Finding] {
        minutes.map { Fixture.move(Self.source, minute: $0, by: 1, edges: [Self.edge]) }
    }

    @Test("a pair makes no second forecast before the first has come to its horizon")
    func oneAtATime() {
        var book = Self.fresh()
        book.plan(Self.moves([1, 2, 3, 4]), watermarks: ["service": Fixture.minute(9)])
        let due = book.due(["service": Fixture.minute(9)])
        #expect(due.map(\.movedAt) == [Fixture.minute(1), Fixture.minute(3)])
    }

    @Test("rounds of any size make the same forecasts with the same intervals")
    func batching() {
        var rounds: [ForecastBook.Round] = []
        let minutes = (0..<60).map { Int64($0) * 3 }
        for size in [1, 7, 60] {
            var book = Self.fresh()
            var all = ForecastBook.Round()
            for start in stride(from: 0, to: minutes.count, by: size) {
                let part = Array(minutes[start..<min(minutes.count, start + size)])
                let watermarks = ["service": Fixture.minute((part.last ?? 0) + 2)]
                book.plan(Self.moves(part), watermarks: watermarks)
                var outcomes: [String: ForecastBook.Outcome] = [:]
                for forecast in book.due(watermarks) {
                    let number = Double(forecast.movedAt.milliseconds / 60_000 % 17)
                    outcomes[forecast.id] = .init(change: 2 + number / 8 - 1, baseRate: 0.5)
                }
                let round = book.settle(outcomes)
                all.made += round.made
                all.scored += round.scored
            }
            rounds.append(all)
        }
        #expect(rounds[0] == rounds[1])
        #expect(rounds[0] == rounds[2])
        #expect(rounds[0].made.count == 60)
        #expect(rounds[0].scored.count == 60)
        #expect(rounds[0].made.filter { $0.intervalLow != nil }.count == 40)
    }

    @Test("an outcome that cannot be read ends the forecast without teaching anything")
    func unknownOutcome() {
        var book = Self.fresh()
        let watermarks = ["service": Fixture.minute(9)]
        book.plan(Self.moves([1]), watermarks: watermarks)
        let id = book.due(watermarks)[0].id
        let round = book.settle([id: .init(change: nil, baseRate: nil)])
        #expect(round.scored.map(\.score) == [nil])
        #expect(book.due(watermarks).isEmpty)
    }

    @Test("a target in another domain holds its pair until that domain has passed the horizon")
    func otherDomain() {
        let far = Fixture.node("db", domain: "database")
        let edge = Fixture.edge(Self.source, far)
        var book = ForecastBook()
        let moves = [1, 5].map { Fixture.move(Self.source, minute: $0, by: 1, edges: [edge]) }
        book.restore(book.unknownPairs(in: moves), calibrators: [:])
        book.plan(moves, watermarks: ["service": Fixture.minute(9), "database": Fixture.minute(2)])
        #expect(book.settle([:]).made.map(\.movedAt) == [Fixture.minute(1)])
        #expect(book.due(["database": Fixture.minute(2)]).isEmpty)
        #expect(book.due(["database": Fixture.minute(3)]).count == 1)
    }

    @Test("edges of lag 0 make no forecast")
    func undirected() {
        let edge = Fixture.edge(Self.source, Self.target, lagBuckets: 0)
        var book = ForecastBook()
        let moves = [Fixture.move(Self.source, minute: 1, by: 1, edges: [edge])]
        #expect(book.unknownPairs(in: moves).isEmpty)
        book.plan(moves, watermarks: ["service": Fixture.minute(9)])
        #expect(book.settle([:]) == ForecastBook.Round())
    }

    @Test("outcomes are changes of the level, or of its logarithm")
    func outcomes() {
        #expect(OutcomeReader.change(from: 2, to: 5, transform: .level) == 3)
        #expect(OutcomeReader.change(from: 2, to: 5, transform: .difference) == 3)
        #expect(OutcomeReader.change(from: 2, to: 2, transform: .logReturn) == 0)
        #expect(OutcomeReader.change(from: 0, to: 2, transform: .logReturn) == nil)
        #expect(OutcomeReader.change(from: nil, to: 2, transform: .level) == nil)
    }
}
