import Foundation
import Model
import NIOCore
import Testing

@testable import GraphBuilder

@Suite("Text of the client commands")
struct ClientTextTests {
    @Test(
        "a number with fixed decimals is rounded, has its sign and never a minus zero",
        arguments: [
            (0, 2, "0.00"), (1.005, 0, "1"), (2.5, 0, "3"), (-2.5, 0, "-3"), (-0.004, 2, "0.00"), (0.05, 1, "0.1"),
            (12.3456, 3, "12.346"), (-12.3456, 3, "-12.346"), (0.007, 3, "0.007"), (.nan, 2, "-"), (.infinity, 2, "-"),
            (1e15, 0, "-"), (999_999_999_999_999, 0, "999999999999999"), (9.9e14, 4, "-"),
        ])
    func fixed(value: Double, digits: Int, text: String) {
        #expect(Figure.fixed(value, digits) == text)
    }

    @Test(
        "a number of any size keeps its leading digits",
        arguments: [
            (0, "0"), (0.5, "0.5000"), (0.0012, "0.0012"), (-1.239, "-1.24"), (42, "42.00"), (100, "100"),
            (1_234_567.8, "1,234,568"), (-2_500, "-2,500"), (1.5e-7, "1.5e-7"), (-3.21e12, "-3.2e12"),
            (9.99e9, "1.0e10"), (9.94e9, "9.9e9"), (.nan, "-"), (-.infinity, "-"),
        ])
    func significant(value: Double, text: String) {
        #expect(Figure.significant(value) == text)
    }

    @Test(
        "thousands are grouped from the right",
        arguments: [
            (0, "0"), (999, "999"), (1_000, "1,000"), (-1_000, "-1,000"), (123_456, "123,456"),
            (1_234_567, "1,234,567"), (.min, "-9,223,372,036,854,775,808"),
        ])
    func grouped(value: Int, text: String) {
        #expect(Figure.grouped(value) == text)
    }

    @Test(
        "a time is told in the unit it is read in",
        arguments: [
            (0, "0 ms"), (250, "250 ms"), (1_000, "1.0 s"), (9_949, "9.9 s"), (15_000, "15 s"), (119_000, "119 s"),
            (120_000, "2 min"), (7_199_000, "120 min"), (7_200_000, "2.0 h"), (-1_500, "-1.5 s"),
        ])
    func durations(milliseconds: Double, text: String) {
        #expect(Figure.duration(milliseconds: milliseconds) == text)
    }

    @Test("Wilson's interval has the published values, and stays within 0 and 1 at the ends")
    func wilson() {
        // Newcombe 1998, Statistics in Medicine 17, table I, method 3.
        for (hits, trials, low, high) in [
            (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718),
        ] {
            let share = HitShare(hits: hits, of: trials)
            #expect(abs(share.low - low) < 5e-5 && abs(share.high - high) < 5e-5, "\(share)")
            // What misses are to the one, hits are to the other.
            let misses = HitShare(hits: trials - hits, of: trials)
            #expect(abs(misses.low - (1 - share.high)) < 1e-12 && abs(misses.high - (1 - share.low)) < 1e-12)
        }
        #expect(HitShare(hits: 21, of: 24).text == "21/24 = 88 % [69-96]")
        #expect(HitShare(hits: 5, of: 5).high == 1 && HitShare(hits: 0, of: 5).low == 0)
        let none = HitShare(hits: 0, of: 0)
        #expect((none.low, none.high) == (0, 1) && none.text == "no cases")
    }

    @Test("a table is as wide as its widest cells, numbers to the right, nothing behind the last")
    func table() {
        var table = TextTable([("name", .left), ("count", .right), ("why", .left)])
        #expect(table.isEmpty && table.lines == ["  name  count  why"])
        table.add("a", "1", "")
        table.add("longer", "1,000,000", "because")
        #expect(
            table.lines == [
                "  name        count  why", "  a               1", "  longer  1,000,000  because",
            ])
        #expect(!table.isEmpty)
    }

    @Test("the bar of the progress line is as long as what is done, and never longer")
    func progress() {
        func line(_ fraction: Double) -> String { ProgressLine.line(fraction: fraction, text: "sent") }
        #expect(line(0) == "[..............................] 0 % sent")
        #expect(line(0.5) == "[###############...............] 50 % sent")
        #expect(line(1) == "[##############################] 100 % sent")
        #expect(line(7) == line(1) && line(-1) == line(0))
    }

    @Test("at a speed a moment is due its distance from the first, divided; without one at once")
    func pace() {
        let pace = ReplayPace(speed: 4, originMs: 10_000)
        #expect(pace.dueSeconds(timeMs: 10_000) == 0)
        #expect(pace.dueSeconds(timeMs: 12_000) == 0.5)
        // Older than the first: due at once, not before the start.
        #expect(pace.dueSeconds(timeMs: 1_000) == 0)
        #expect(ReplayPace(speed: 0, originMs: 10_000).dueSeconds(timeMs: .max) == 0)
    }

    @Test("observations become lines that say exactly what they were, whatever is in a name")
    func lines() throws {
        struct Line: Decodable, Equatable {
            var domain: String
            var event: String
            var market: String
            var venue: String
            var time: Int64
            var value: Double
        }
        var lines = ObservationLines(domainPrefix: "p-")
        let key = NodeKey(domain: "d", event: "a\"b\\c/d", market: "ü€", venue: "v")
        let values = [0.1, -1e-300, 5, 1e300, .pi, -0.0, 1e16]
        for (index, value) in values.enumerated() {
            try lines.append(
                Observation(node: key, time: Timestamp(milliseconds: Int64(index) - 3), value: value))
        }
        #expect(lines.count == values.count)
        let text = String(buffer: lines.take())
        #expect(text.hasSuffix("}\n"))
        let read = try text.split(separator: "\n").map { try JSONDecoder().decode(Line.self, from: Data($0.utf8)) }
        #expect(
            read
                == values.enumerated().map { index, value in
                    Line(
                        domain: "p-d", event: key.event, market: key.market, venue: "v", time: Int64(index) - 3,
                        value: value)
                })
        #expect(lines.count == 0 && lines.take().readableBytes == 0)
    }

    @Test("the summary of a replay is one line for people and one for programs")
    func summary() throws {
        var summary = ReplaySummary(file: "a.csv")
        #expect(summary.perSecond == 0)
        summary.sent = 12_345
        summary.duplicates = 3
        summary.rejected = 1
        summary.badRows = 2
        summary.seconds = 2.5
        #expect(
            summary.line == "a.csv: 12345 observations in 2.5 s (4,938 observations/s), 3 duplicates, 3 rejected")
        let path = FileManager.default.temporaryDirectory.appending(path: "summary-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        try summary.append(to: path)
        var second = summary
        second.file = "b.csv"
        try second.append(to: path)
        let read = try ReplaySummary.readAll(path)
        #expect(read.map(\.file) == ["a.csv", "b.csv"] && read.map(\.sent) == [12_345, 12_345])
        try Data("{\"file\":".utf8).write(to: URL(fileURLWithPath: path))
        #expect(throws: (any Error).self) { try ReplaySummary.readAll(path) }
    }
}
