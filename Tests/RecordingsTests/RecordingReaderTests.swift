import Foundation
import Model
import Recordings
import Testing

@Suite("Reading recordings")
struct RecordingReaderTests {
    static let samples = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Samples")

    static func sample(_ path: String) -> String { Self.samples.appending(path: path).path }

    /// Writes `bytes` to a file of its own, gives its path to `body`, removes it.
    @discardableResult
    private func withFile<Result>(_ bytes: Data, _ body: (String) throws -> Result) throws -> Result {
        let url = FileManager.default.temporaryDirectory.appending(path: "recording-\(UUID().uuidString).csv")
        try bytes.write(to: url)
        defer { try? FileManager.default.removeItem(at: url) }
        return try body(url.path)
    }

    private func all(_ reader: RecordingReader) throws -> [Observation] {
        var rows: [Observation] = []
        while let row = try reader.next() { rows.append(row) }
        return rows
    }

    @Test("a gzip sample is read whole, in order, with its first row")
    func readsSample() throws {
        let rows = try self.all(try RecordingReader(path: Self.sample("market-btcjpy/btcjpy-2018-08-12-am.csv.gz")))
        #expect(rows.count == 14_404)
        #expect(rows.map(\.time) == rows.map(\.time).sorted())
        #expect(Set(rows.map(\.node)).count == 2)
        let key = NodeKey(domain: "crypto", event: "BTCJPY", market: "last", venue: "btcbox")
        #expect(rows.first == Observation(node: key, time: Timestamp(milliseconds: 1_534_032_008_000), value: 681_475))
    }

    @Test(
        "a plain file reads like a packed one, with or without a last line end and with CR LF",
        arguments: ["\n", "\r\n"])
    func readsPlain(lineEnd: String) throws {
        let text = [RecordingReader.columns, "1,a|b|c,d,a,b,c,0.5", "2,a|b|c,d,\"a,\"\"x\",b,c,-1e3"]
            .joined(separator: lineEnd)
        let rows = try self.withFile(Data(text.utf8)) { try self.all(try RecordingReader(path: $0)) }
        #expect(rows.map(\.value) == [0.5, -1_000])
        #expect(rows.last?.node.event == "a,\"x")
    }

    /// Seen to fail: with the end of a file taken for the end of its gzip data.
    @Test("a truncated gzip file gives what came before, then a typed error with the offset")
    func truncated() throws {
        let whole = try Data(contentsOf: URL(fileURLWithPath: Self.sample("market-btcjpy/btcjpy-2018-08-12-am.csv.gz")))
        try self.withFile(whole.prefix(whole.count / 2)) { path in
            let reader = try RecordingReader(path: path)
            #expect(try reader.next() != nil)
            let error = #expect(throws: RecordingError.self) { _ = try self.all(reader) }
            #expect(error?.reason == .truncated(offset: whole.count / 2))
        }
    }

    @Test("a damaged gzip file is a typed error, not garbage")
    func damaged() throws {
        var bytes = try Data(contentsOf: URL(fileURLWithPath: Self.sample("market-btcjpy/btcjpy-2018-08-12-am.csv.gz")))
        for index in 40_000..<40_200 { bytes[index] = 0xFF }
        try self.withFile(bytes) { path in
            #expect(throws: RecordingError.self) { _ = try self.all(try RecordingReader(path: path)) }
        }
    }

    @Test(
        "a bad row is an error with its line number and rule",
        arguments: [
            ("x,n,d,e,m,v,1", "ts must be epoch milliseconds, an integer"),
            ("1,n,d,e,m,v,nan", "value must be a finite number"),
            ("1,n,d,e,m,v,inf", "value must be a finite number"),
            ("1,n,d,e,m,v", "row must have 7 columns, has 6"),
            ("1,n,d,,m,v,1", "event must be 1 to 128 characters"),
            ("1,n,d,\"e,m,v,1", "row has a quote that is not closed"),
        ])
    func badRow(row: String, rule: String) throws {
        let text = "\(RecordingReader.columns)\n1,n,d,e,m,v,1\n\(row)\n2,n,d,e,m,v,2\n"
        try self.withFile(Data(text.utf8)) { path in
            let error = #expect(throws: RecordingError.self) { _ = try self.all(try RecordingReader(path: path)) }
            #expect(error?.reason == .row(line: 3, rule: rule))
            let collecting = try RecordingReader(path: path, badRows: .collect(limit: 10))
            #expect(try self.all(collecting).map(\.value) == [1, 2])
            #expect(collecting.badRows == [RecordingReader.BadRow(line: 3, rule: rule)])
        }
    }

    @Test("a file with other columns, an empty one and a missing one are refused at once")
    func wrongHeader() throws {
        try self.withFile(Data("time,value\n".utf8)) { path in
            let error = #expect(throws: RecordingError.self) { _ = try RecordingReader(path: path) }
            #expect(error?.reason == .header(expected: RecordingReader.columns, found: "time,value"))
        }
        try self.withFile(Data()) { path in
            #expect(throws: RecordingError.self) { _ = try RecordingReader(path: path) }
        }
        #expect(throws: RecordingError.self) { _ = try RecordingReader(path: "/nonexistent.csv") }
    }

    @Test("a line without end is refused instead of filling the memory")
    func endlessLine() throws {
        let text = "\(RecordingReader.columns)\n" + String(repeating: "x", count: 200_000)
        try self.withFile(Data(text.utf8)) { path in
            #expect(throws: RecordingError.self) { _ = try self.all(try RecordingReader(path: path)) }
        }
    }
}
