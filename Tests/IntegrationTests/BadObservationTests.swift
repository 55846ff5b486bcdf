import Foundation
import Model
import Testing

extension ProcessTests {
    /// Observations that are wrong: a clear answer, the good ones land, nothing crashes.
    @Suite("Bad observations")
    struct BadObservations {
        private func refused(_ line: String, field: String) async throws {
            let stack = try await Stack.shared()
            let event = ProcessTests.event()
            let good = Stack.line(event: event, time: ProcessTests.origin, value: 1)
            let reply = try await stack.observe([good, line])
            #expect(reply.status == 200, "\(reply.text)")
            let receipt = try reply.json(Receipt.self)
            #expect(receipt.accepted == 1 && receipt.rejected == 1)
            #expect(receipt.errors.map(\.line) == [2])
            #expect(receipt.errors.first?.field == field, "\(reply.text)")
            // Alone it is a refusal of the whole request.
            let alone = try await stack.observe([line])
            #expect(alone.status == 400 && alone.problem != nil, "\(alone.text)")
        }

        @Test(
            "an event id of 129 characters, an empty one and one with control characters are refused by name",
            arguments: [String(repeating: "x", count: 129), "", "a\\u0000b", "a\\nb", "a\\u202Eb"])
        func names(event: String) async throws {
            try await self.refused(Stack.line(event: event, time: ProcessTests.origin, value: 1), field: "event")
        }

        @Test(
            "every name is bounded in length and has no control characters",
            arguments: ["domain", "event", "market", "venue"], [String(repeating: "n", count: 129), "n\\u0007"])
        func everyName(field: String, name: String) async throws {
            var names = ["domain": "test", "event": "e", "market": "m", "venue": "v"]
            names[field] = name
            let pairs = names.sorted { $0.key < $1.key }.map { "\"\($0.key)\":\"\($0.value)\"" }
            try await self.refused(
                "{\(pairs.joined(separator: ",")),\"time\":\(ProcessTests.origin),\"value\":1}", field: field)
        }

        @Test("a name of 128 characters is taken and found again")
        func longestName() async throws {
            let stack = try await Stack.shared()
            let event = String((ProcessTests.event("long") + String(repeating: "x", count: 128)).prefix(128))
            let reply = try await stack.observe([Stack.line(event: event, time: ProcessTests.origin, value: 1)])
            #expect(try reply.json(Receipt.self).accepted == 1)
            #expect(try await stack.get("/v1/events/\(event)").status == 200)
        }

        @Test(
            "NaN and infinity are refused, in every spelling",
            arguments: ["NaN", "Infinity", "-Infinity", "1e999", "\"NaN\""])
        func notFinite(value: String) async throws {
            let stack = try await Stack.shared()
            let good = Stack.line(event: ProcessTests.event(), time: ProcessTests.origin, value: 1)
            let bad = """
                {"domain":"test","event":"e","market":"m","venue":"v","time":\(ProcessTests.origin),"value":\(value)}
                """
            let reply = try await stack.observe([good, bad])
            #expect(reply.status == 200)
            let receipt = try reply.json(Receipt.self)
            #expect(receipt.accepted == 1 && receipt.errors.map(\.line) == [2])
        }

        @Test("a time more than five minutes ahead is refused, one of 2018 is taken")
        func future() async throws {
            func now() -> Int64 { Int64(Date.now.timeIntervalSince1970 * 1_000) }
            try await self.refused(Stack.line(event: "e", time: now() + 3_600_000, value: 1), field: "time")
            try await self.refused(Stack.line(event: "e", time: now() + 360_000, value: 1), field: "time")
            // In a domain of their own: a time ahead moves a domain's clock.
            let domain = ProcessTests.event("ahead")
            for time in [1_534_032_008_000, now() + 240_000] {
                let line = Stack.line(domain: domain, event: ProcessTests.event(), time: time, value: 1)
                let reply = try await Stack.shared().observe([line])
                #expect(try reply.json(Receipt.self).accepted == 1, "\(reply.text)")
            }
        }

        @Test("an empty batch is refused", arguments: ["", "\n\n", "[]"])
        func empty(body: String) async throws {
            let stack = try await Stack.shared()
            let type = body.hasPrefix("[") ? "application/json" : "application/x-ndjson"
            let reply = try await stack.observe(body: Data(body.utf8), contentType: type)
            #expect(reply.status == 400 && reply.problem != nil, "\(reply.text)")
        }

        @Test("one bad line among 10,000: the others land and the answer names the line")
        func oneBadLine() async throws {
            let stack = try await Stack.shared()
            let event = ProcessTests.event()
            var lines = (0..<10_000).map {
                Stack.line(event: event, time: ProcessTests.origin + Int64($0), value: Double($0))
            }
            lines[6_788] = "{\"domain\":\"test\",\"event\":"
            let reply = try await stack.observe(lines)
            #expect(reply.status == 200)
            let receipt = try reply.json(Receipt.self)
            #expect(receipt.accepted == 9_999 && receipt.duplicates == 0 && receipt.rejected == 1)
            #expect(receipt.errors.map(\.line) == [6_789])
            // Sent again, all of it is known.
            let again = try await stack.observe(lines).json(Receipt.self)
            #expect(again.accepted == 9_999 && again.duplicates == 9_999)
        }

        /// Seen to fail: without asking at the end of a body whether its gzip data have ended.
        @Test("truncated gzip is refused and leaves nothing behind")
        func truncatedGzip() async throws {
            let stack = try await Stack.shared()
            let path = stack.folder + "/lines-\(UUID().uuidString)"
            let event = ProcessTests.event()
            let lines = (0..<2_000).map {
                Stack.line(event: event, time: ProcessTests.origin + Int64($0), value: Double.random(in: 0...1)) + "\n"
            }
            try lines.joined().write(toFile: path, atomically: true, encoding: .utf8)
            try await Gzip.pack(path)
            let packed = try Data(contentsOf: URL(fileURLWithPath: path + ".gz"))
            let gzip = [("Content-Encoding", "gzip")]
            // Half of it; everything but the check sum and length at its end; everything but the last byte.
            for length in [packed.count / 2, packed.count - 8, packed.count - 1] {
                let cut = try await stack.observe(body: packed.prefix(length), headers: gzip)
                #expect(cut.status == 400 && cut.problem?.code == .malformedBody, "\(cut.status) \(cut.text)")
            }
            #expect(try await stack.get("/v1/events/\(event)").status == 404)
            let whole = try await stack.observe(body: packed, headers: gzip)
            #expect(try whole.json(Receipt.self).accepted == 2_000)
        }

        @Test("invalid UTF-8 spoils its own line only")
        func invalidUTF8() async throws {
            let stack = try await Stack.shared()
            let good = Stack.line(event: ProcessTests.event(), time: ProcessTests.origin, value: 1) + "\n"
            var body = Data(good.utf8)
            body.append(contentsOf: Array("{\"domain\":\"test\",\"event\":\"".utf8) + [0xC3, 0x28])
            body.append(
                contentsOf: Array(
                    "\",\"market\":\"m\",\"venue\":\"v\",\"time\":\(ProcessTests.origin),\"value\":1}\n".utf8))
            let reply = try await stack.observe(body: body)
            #expect(reply.status == 200, "\(reply.text)")
            let receipt = try reply.json(Receipt.self)
            #expect(receipt.accepted == 1 && receipt.errors.map(\.line) == [2])
        }

        @Test("deeply nested JSON is refused without a crash", arguments: ["[", "{\"a\":"])
        func nested(opening: String) async throws {
            let stack = try await Stack.shared()
            let deep = Data(String(repeating: opening, count: 100_000).utf8)
            for type in ["application/json", "application/x-ndjson"] {
                let reply = try await stack.observe(body: deep, contentType: type)
                #expect(reply.status == 400 && reply.problem != nil, "\(reply.status) \(reply.text.prefix(300))")
            }
            let good = Stack.line(event: ProcessTests.event(), time: ProcessTests.origin, value: 1)
            #expect(try await stack.observe([good]).status == 200)
        }

        @Test("a body over the limit is 413, an unknown media type 415")
        func tooLarge() async throws {
            let stack = try await Stack.shared()
            let reply = try await stack.observe(body: Data(count: (32 << 20) + 1))
            #expect(reply.status == 413 && reply.problem?.code == .bodyTooLarge, "\(reply.status)")
            let text = try await stack.observe(body: Data("x".utf8), contentType: "text/csv")
            #expect(text.status == 415 && text.problem?.code == .unsupportedMediaType, "\(text.status)")
        }
    }
}
