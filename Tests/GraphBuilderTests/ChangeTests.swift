import Engine
import Foundation
import Model
import Postgres
import TestSupport
import Testing

@testable import GraphBuilder

/// `GET /v1/events/{id}/changes` and `GET /v1/graphs/diff` over a real PostgreSQL.
@Suite("Changes of graphs")
struct ChangeTests {
    /// Two metrics of one event: correlated, independent from minute 300 on, and opposite from minute 500 on.
    private static var observations: [Observation] {
        var observations: [Observation] = []
        for minute in 0..<700 {
            let common = Feed.noise(UInt64(minute) &+ 1)
            let own = Feed.noise(UInt64(minute) &+ 100_000)
            let second = minute < 300 ? common + 0.3 * own : minute < 500 ? own : 0.3 * own - common
            for (market, value) in [("m", common), ("n", second)] {
                observations.append(
                    Observation(
                        node: NodeKey(domain: "a", event: "alpha", market: market, venue: "v"),
                        time: Timestamp(milliseconds: Int64(minute) * 60_000), value: value))
            }
        }
        return observations
    }

    private static func feed(_ door: Door, _ batches: [[Observation]]) async throws {
        try await Feed.declare(ArrivalOrderTests.profile("a"), in: door.pool)
        for batch in batches {
            try await Feed.store(batch, in: door.pool)
            try await door.replica.work()
        }
    }

    private static func words(_ answer: Door.Answer) -> [String] {
        answer.items.map { "\($0["kind"] ?? "") \($0["windowEnd"] ?? "")" }
    }

    private static let path = "/v1/events/alpha/changes"

    @Test("a link is born, breaks and is born again with the other sign, told alike page by page")
    func story() async throws {
        try await Door.open { door in
            try await Self.feed(door, ArrivalOrderTests.pieces(Self.observations, 5))
            let answer = try await door.get("\(Self.path)?limit=500")
            #expect(answer.status == 200 && answer.json["nextCursor"] == nil, "\(answer.json)")
            let kinds = answer.items.compactMap { $0["kind"] as? String }.filter { $0 != "halfLifeShrunk" }
            #expect(kinds == ["born", "broken", "born"], "\(Self.words(answer))")
            let broken = try #require(answer.items.first { $0["kind"] as? String == "broken" })
            let end = try #require((broken["windowEnd"] as? String).flatMap(Timestamp.init(rfc3339:)))
            // Within one window of forty buckets.
            #expect((300...340).contains(end.milliseconds / 60_000))
            let (before, after) = (broken["before"] as? [String: Any], broken["after"] as? [String: Any])
            #expect((before?["score"] as? Double ?? 0) > 0.7 && abs(after?["score"] as? Double ?? 1) < 0.65)
            #expect(broken["domain"] as? String == "a" && broken["layer"] as? String == "L2")
            let last = answer.items.last { $0["kind"] as? String == "born" }
            #expect(((last?["after"] as? [String: Any])?["score"] as? Double ?? 0) < -0.6 && last?["before"] == nil)

            var items: [String] = []
            var cursor: String? = ""
            for _ in 0..<20 {
                guard let place = cursor else { break }
                let page = try await door.get("\(Self.path)?limit=1" + (place.isEmpty ? "" : "&cursor=\(place)"))
                #expect(page.items.count <= 1)
                items += Self.words(page)
                cursor = page.json["nextCursor"] as? String
            }
            #expect(cursor == nil && items == Self.words(answer))

            let only = try await door.get("\(Self.path)?kind=broken")
            #expect(Self.words(only) == Self.words(answer).filter { $0.hasPrefix("broken") })
            #expect(try await door.get("\(Self.path)?layer=L3").items.isEmpty)
        }
    }

    @Test("since takes a time or a revision, and leaves out what was told before")
    func since() async throws {
        try await Door.open { door in
            let observations = Self.observations
            let early = observations.filter { $0.time.milliseconds < 250 * 60_000 }
            try await Self.feed(door, [early])
            let first = try await door.get(Self.path)
            let revision = try #require(first.header("X-Undercurrent-Revision"))
            #expect(Self.words(first).map { $0.prefix(4) } == ["born"])
            #expect(try await door.get("\(Self.path)?since=\(revision)").items.isEmpty)
            try await Self.feed(door, [observations.filter { $0.time.milliseconds >= 250 * 60_000 }])
            let all = Self.words(try await door.get(Self.path))
            let later = Self.words(try await door.get("\(Self.path)?since=\(revision)"))
            #expect(later == Array(all.dropFirst()) && later.count > 1)
            let time = try #require(later.first?.split(separator: " ").last)
            #expect(Self.words(try await door.get("\(Self.path)?since=\(time)")) == Array(later.dropFirst()))
            #expect(Self.words(try await door.get("\(Self.path)?since=1970-01-01T00:00:00Z")) == all)
            #expect(Self.words(try await door.get("\(Self.path)?since=0")) == all)
        }
    }

    @Test("the answer is the same bytes after a restart and whatever order observations came in")
    func anyOrder() async throws {
        let observations = Self.observations
        let byNode = [1, 0].map { part in observations.enumerated().filter { $0.offset % 2 == part }.map(\.element) }
        let late =
            [observations.enumerated().filter { $0.offset % 7 != 3 }.map(\.element)] + [
                observations.enumerated().filter { $0.offset % 7 == 3 }.map(\.element)
            ]
        let bodies = Collected()
        for batches in [[observations], byNode, late, ArrivalOrderTests.pieces(observations, 9).reversed()] {
            try await Door.open { door in
                try await Self.feed(door, batches)
                bodies.add(try await door.get("\(Self.path)?limit=500").body)
                // Another process that has evaluated nothing.
                let other = ChangeReader(pool: door.pool)
                let step = try await other.step("alpha", after: .earliest, in: try await other.open())
                #expect(step?.items.isEmpty == false)
            }
        }
        #expect(bodies.all.count == 4 && Set(bodies.all).count == 1)
    }

    private final class Collected: @unchecked Sendable {
        // Only ever touched by one test's steps, one after the other.
        private(set) var all: [Data] = []
        func add(_ data: Data) { self.all.append(data) }
    }

    @Test("bad questions about changes are refused with what is wrong")
    func refusals() async throws {
        try await Door.open { door in
            try await Self.feed(door, [Array(Self.observations.prefix(100))])
            for (query, word) in [
                ("since=yesterday", "since"), ("since=-1", "since"), ("kind=gone", "kind"), ("limit=0", "limit"),
                ("limit=501", "limit"), ("cursor=abc", "cursor"), ("layer=L9", "layer"), ("until=1", "until"),
            ] {
                let answer = try await door.get("\(Self.path)?\(query)")
                #expect(answer.status == 400 && answer.json["code"] as? String == "invalid-request", "\(query)")
                #expect(answer.detail.contains(word), "\(query): \(answer.detail)")
            }
            #expect(try await door.get("/v1/events/nobody/changes").status == 404)
        }
    }

    @Test("the difference of two graphs names edges added, removed and changed, with both values")
    func difference() async throws {
        try await Door.open { door in
            let observations = Self.observations
            try await Self.feed(door, [observations.filter { $0.time.milliseconds < 250 * 60_000 }])
            let first = try #require(try await Feed.graphIDs(in: door.pool)["alpha"])
            let score = try await door.get("/v1/correlation-graph?eventId=alpha").json["edges"] as? [[String: Any]]
            let middle = observations.filter { (250 * 60_000..<255 * 60_000).contains($0.time.milliseconds) }
            try await Self.feed(door, [middle])
            let second = try #require(try await Feed.graphIDs(in: door.pool)["alpha"])
            try await Self.feed(
                door, [observations.filter { (255 * 60_000..<400 * 60_000).contains($0.time.milliseconds) }])
            let third = try #require(try await Feed.graphIDs(in: door.pool)["alpha"])
            func edges(_ from: String, _ to: String) async throws -> [[String: Any]] {
                let answer = try await door.get("/v1/graphs/diff?from=\(from)&to=\(to)")
                #expect(answer.status == 200 && answer.json["event"] as? String == "alpha", "\(answer.json)")
                return answer.json["edges"] as? [[String: Any]] ?? []
            }
            let changed = try await edges(first, second)
            #expect(changed.map { $0["change"] as? String } == ["changed"])
            let from = (changed.first?["from"] as? [String: Any])?["score"] as? Double
            #expect(from != nil && from == score?.first?["score"] as? Double)
            #expect((changed.first?["to"] as? [String: Any])?["score"] as? Double != from)
            let removed = try await edges(first, third)
            #expect(removed.map { $0["change"] as? String } == ["removed"] && removed.first?["to"] == nil)
            #expect(try await edges(third, first).map { $0["change"] as? String } == ["added"])
            let same = try await door.get("/v1/graphs/diff?from=\(first)&to=\(first)")
            #expect(same.json["unchanged"] as? Int == 1 && (same.json["edges"] as? [Any])?.isEmpty == true)
        }
    }

    @Test("a difference needs two ids of one event that are kept")
    func badDifferences() async throws {
        try await Door.open { door in
            try await Self.feed(door, [Array(Self.observations.prefix(400))])
            try await Feed.store(
                Feed.observations(domain: "a", events: ["beta"], count: 200), in: door.pool)
            try await door.replica.work()
            let ids = try await Feed.graphIDs(in: door.pool)
            let (alpha, beta) = (try #require(ids["alpha"]), try #require(ids["beta"]))
            let unknown = String(repeating: "0", count: 64)
            for (query, status) in [
                ("from=\(alpha)", 400), ("to=\(alpha)", 400), ("from=\(alpha)&to=xyz", 400),
                ("from=\(alpha)&to=\(alpha.uppercased())", 400), ("from=\(alpha)&to=\(beta)", 400),
                ("from=\(alpha)&to=\(unknown)", 404), ("from=\(unknown)&to=\(alpha)", 404),
                ("from=\(alpha)&to=\(alpha)&event=alpha", 400),
            ] {
                #expect(try await door.get("/v1/graphs/diff?\(query)").status == status, "\(query)")
            }
        }
    }
}
