import ArgumentParser
import Foundation
import Model
import NIOCore
import NIOHTTP1
import Recordings
import Synchronization
import Testing

@testable import GraphBuilder

@Suite("Replaying a recording")
struct ReplayTests {
    private static func row(_ time: Int64, _ value: Double = 1) -> String { "\(time),e|m|v,d,e,m,v,\(value)" }

    /// Batches as (observations, lines, due in milliseconds), read with the given times passed since the start.
    private static func batches(
        _ path: String, speed: Double, size: Int, elapsed: [Duration]
    ) throws -> [String] {
        let reader = try RecordingReader(path: path, badRows: .collect(limit: 9))
        var source = BatchSource(reader: reader, speed: speed, size: size, prefix: "")
        var batches: [String] = []
        for elapsed in elapsed {
            guard let (body, count, lines, due) = try source.next(elapsed: elapsed) else { break }
            #expect(String(buffer: body).split(separator: "\n").count == count)
            batches.append("\(count) of \(lines.lowerBound)-\(lines.upperBound) at \(Int((due * 1_000).rounded()))")
        }
        return batches
    }

    @Test("without a speed batches are full, the last takes the rest, and bad rows are passed over")
    func fullBatches() throws {
        let folder = try ScratchFolder()
        let path = try folder.write(
            "a.csv",
            [RecordingReader.columns] + (0..<3).map { Self.row($0) } + ["what,is,this"] + (3..<7).map { Self.row($0) })
        let found = try Self.batches(path, speed: 0, size: 3, elapsed: Array(repeating: .zero, count: 9))
        #expect(found == ["3 of 2-4 at 0", "3 of 6-8 at 0", "1 of 9-9 at 0"])
        #expect(try Self.batches(path, speed: 0, size: 7, elapsed: [.zero, .zero]) == ["7 of 2-9 at 0"])
    }

    @Test("at a speed a batch holds what is due together, and what is overdue goes out at once")
    func pacedBatches() throws {
        let folder = try ScratchFolder()
        let times: [Int64] = [1_000, 1_100, 1_300, 6_000, 6_100, 9_000]
        let path = try folder.write("a.csv", [RecordingReader.columns] + times.map { Self.row($0) })
        #expect(
            try Self.batches(
                path, speed: 1, size: 100, elapsed: [.zero, .milliseconds(100), .milliseconds(300), .seconds(5), .zero])
                == ["2 of 2-3 at 100", "1 of 4-4 at 300", "2 of 5-6 at 5100", "1 of 7-7 at 8000"])
        // Ten times as fast everything is ten times as near.
        #expect(
            try Self.batches(path, speed: 10, size: 100, elapsed: Array(repeating: .zero, count: 4))
                == ["3 of 2-4 at 30", "2 of 5-6 at 510", "1 of 7-7 at 800"])
        // Late: all of it is overdue, and still no batch is larger than it may be.
        #expect(
            try Self.batches(path, speed: 1, size: 4, elapsed: [.seconds(60), .seconds(60)])
                == ["4 of 2-5 at 5000", "2 of 6-7 at 8000"])
    }

    private static let receipt = #"{"accepted":3,"duplicates":1,"rejected":1}"#

    private static func replay(
        _ client: GatewayClient, _ path: String, prefix: String = "", batchSize: Int = 2
    ) -> Replay {
        Replay(client: client, path: path, domainPrefix: prefix, speed: 0, batchSize: batchSize, inFlight: 1)
    }

    @Test("every batch goes out once under a key of file, prefix and lines, and the receipts add up")
    func replaying() async throws {
        let folder = try ScratchFolder()
        let rows = [RecordingReader.columns, Self.row(1), Self.row(2), "x,e|m|v,d,e,m,v,1", Self.row(3)]
        let path = try folder.write("a.csv", rows)
        let copy = try folder.write("b.csv", rows)
        let other = try folder.write("c.csv", rows.dropLast() + [Self.row(3, 2)])
        try await FakeGateway.with({ _ in .init(body: Self.receipt) }) { gateway, client in
            let (summary, badRows) = try await Self.replay(client, path).run()
            #expect(summary.sent == 3 && summary.accepted == 6 && summary.duplicates == 2 && summary.rejected == 2)
            #expect(summary.badRows == 1 && badRows == ["\(path), line 4: ts must be epoch milliseconds, an integer"])
            let first = gateway.questions
            #expect(first.count == 2)
            #expect(first.allSatisfy { $0.method == "POST" && $0.path == "/v1/observations" })
            #expect(first.allSatisfy { $0.header("x-api-key") == "secret" })
            #expect(first.allSatisfy { $0.header("content-type") == "application/x-ndjson" })
            let keys = first.compactMap { $0.header("idempotency-key") }
            #expect(Set(keys).count == 2 && keys.allSatisfy { $0.utf8.count <= 255 })
            #expect(keys[0].hasSuffix("-2-3") && keys[1].hasSuffix("-5-5"))
            // The same content from anywhere has the same keys; another prefix or content has others.
            _ = try await Self.replay(client, copy).run()
            #expect(gateway.questions.suffix(2).compactMap { $0.header("idempotency-key") } == keys)
            _ = try await Self.replay(client, path, prefix: "p-").run()
            _ = try await Self.replay(client, other).run()
            let later = gateway.questions.suffix(4).compactMap { $0.header("idempotency-key") }
            #expect(Set(later + keys).count == 6)
        }
    }

    @Test("what may pass is tried again after the time asked for, a limited number of times; a refusal is not")
    func retries() async throws {
        let left = Mutex(2)
        try await FakeGateway.with({ question in
            switch question.path {
            case "/busy": return .init(status: 503, retryAfter: "0.05")
            case "/refused": return .init(status: 400, body: #"{"type":"/problems/x"}"#)
            case "/forbidden": return .init(status: 403)
            case "/shape": return .init(body: "[]")
            default:
                let isBusy = left.withLock { left in
                    left -= 1
                    return left >= 0
                }
                return isBusy ? .init(status: 429, retryAfter: "1") : .init(body: Self.receipt)
            }
        }) { gateway, client in
            let begin = ContinuousClock.now
            #expect(try await client.send(.GET, "/wait").status == 200)
            #expect(gateway.questions.count == 3)
            // Twice a second, as asked.
            #expect(ContinuousClock.now - begin >= .seconds(2))
            func failure(_ path: String) async throws -> ClientFailure? {
                await #expect(throws: ClientFailure.self) { try await client.send(.GET, path) }
            }
            let busy = try await failure("/busy")
            #expect(busy?.exitCode == 69 && gateway.questions.count == 3 + GatewayClient.attemptLimit)
            #expect(try await failure("/refused")?.exitCode == 65)
            #expect(try await failure("/forbidden")?.exitCode == 77)
            #expect(gateway.questions.count == 3 + GatewayClient.attemptLimit + 2)
            let shape = await #expect(throws: ClientFailure.self) {
                _ = try await client.get("/shape", as: [String: Int].self)
            }
            #expect(shape?.exitCode == 70 && shape?.description.contains("/shape") == true)
        }
    }

    @Test("a refusal is told with the gateway's own explanation")
    func refusal() throws {
        let problem = Problem(.rateLimited, detail: "one more every 5 s", retryAfter: 5)
        let answer = GatewayClient.Answer(status: 429, retryAfter: 5, body: try JSONEncoder().encode(problem))
        let failure = ClientFailure.refused(method: "POST", path: "/v1/x", answer: answer)
        #expect(
            failure.description == "POST /v1/x was refused with 429. Too many requests: one more every 5 s")
        #expect(failure.exitCode == 69)
        let bare = ClientFailure.refused(
            method: "GET", path: "/", answer: .init(status: 404, retryAfter: nil, body: Data("<html>".utf8)))
        #expect(bare.description == "GET / was refused with 404. no explanation" && bare.exitCode == 65)
    }

    /// Seen to fail: with the end of a file taken for the end of its gzip data.
    @Test("a file that is missing, has other columns or is cut off ends the replay with its name")
    func wrongFiles() async throws {
        let folder = try ScratchFolder()
        let header = try folder.write("header.csv", ["ts,node,domain,event,market,value", "1,n,d,e,m,1"])
        let whole = try Data(
            contentsOf: URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
                .deletingLastPathComponent().deletingLastPathComponent().appending(
                    path: "Samples/services-petshop/low_traffic/normal.csv.gz"))
        let cut = try folder.write("cut.csv.gz", whole.prefix(whole.count / 2))
        let torn = try folder.write("torn.csv.gz", whole.dropLast(1))
        let missing = folder.path + "/missing.csv"
        try await FakeGateway.with({ _ in .init(body: Self.receipt) }) { gateway, client in
            func failure(_ path: String) async throws -> RecordingError? {
                await #expect(throws: RecordingError.self) {
                    _ = try await Self.replay(client, path, batchSize: 20_000).run()
                }
            }
            let found = try await failure(header)
            #expect(found?.path == header && found?.description.contains("line 1") == true)
            #expect(try await failure(missing)?.reason == .unreadable("no such file, or no permission"))
            #expect(gateway.questions.isEmpty)
            #expect(try await failure(cut)?.reason == .truncated(offset: whole.count / 2))
            #expect(try await failure(torn)?.reason == .truncated(offset: whole.count - 1))
        }
    }

    @Test("numbers that are none are counted and named by line, and the other rows are sent")
    func badNumbers() async throws {
        let folder = try ScratchFolder()
        let bad = ["1,e|m|v,d,e,m,v,", "2,e|m|v,d,e,m,v,0x1g", "3,e|m|v,d,e,m,v,nan", "1.5,e|m|v,d,e,m,v,1"]
        let path = try folder.write("a.csv", [RecordingReader.columns] + bad + [Self.row(9)])
        try await FakeGateway.with({ _ in .init(body: Self.receipt) }) { gateway, client in
            let (summary, rows) = try await Self.replay(client, path).run()
            #expect(summary.sent == 1 && summary.badRows == 4)
            #expect(
                rows.map { $0.replacing("\(path), ", with: "").prefix(6) } == ["line 2", "line 3", "line 4", "line 5"])
            #expect(gateway.questions.count == 1)
        }
    }

    @Test("a connection file that is missing or incomplete, and a key file without a key, are told by name")
    func connections() throws {
        let folder = try ScratchFolder()
        let good = try folder.write("c.json", [#"{"url":"https://h:1","caFile":"/ca","apiKey":"k","extra":1}"#])
        let read = try ConnectionFile.read(good)
        #expect(read.url == "https://h:1" && read.caFile == "/ca" && read.apiKey == "k" && read.services == nil)
        for path in [folder.path + "/none.json", try folder.write("d.json", ["{}"]), try folder.write("e.json", [])] {
            let error = #expect(throws: (any Error).self) { try ConnectionFile.read(path) }
            #expect(error.map { String(describing: $0).contains(path) } == true)
        }
        let key = try folder.write("key", ["  uc_1 ", "second line"])
        let options = try ConnectionOptions.parse(["--url", "https://h:2", "--api-key-file", key])
        #expect(try options.resolve().apiKey == "uc_1")
        let empty = try folder.write("empty", [])
        #expect(throws: (any Error).self) {
            try ConnectionOptions.parse(["--url", "https://h:2", "--api-key-file", empty]).resolve()
        }
        for words in [[], ["--url", "https://h:2"], ["--url", "a", "--connection", "b", "--api-key-file", key]] {
            #expect(throws: (any Error).self) { try ConnectionOptions.parse(words) }
        }
    }
}
