import Model
import NIOCore
import Testing

@testable import Gateway

@Suite("What every request passes through")
struct HotPathTests {
    @Test("what is written is the same whatever room was made for it", arguments: 0...130)
    func writer(room: Int) {
        var buffer = ByteBuffer(string: "before ")
        buffer.write(room: room) { writer in
            writer.writeField("name", "value")
            writer.writeField("number", -9_223_372_036_854_775_808)
            writer.write(hex: 0x0123_4567_89ab_cdef)
            writer.write(decimal: 0)
            writer.write(escaped: "a\"b\\c\u{1}d\u{1f}e")
            writer.write("")
            writer.write(0x21 as UInt8)
        }
        #expect(
            String(buffer: buffer)
                == "before name: value\r\nnumber: -9223372036854775808\r\n0123456789abcdef0a\\\"b\\\\c\\u0001d\\u001fe!"
        )
    }

    @Test("a value ends at the first byte that none may have, wherever that stands", arguments: 1...100)
    func values(seed: Int) {
        var random = SplitMix(seed: UInt64(seed))
        let allowed = (0...255).filter { HTTPBytes.isValue(UInt8($0)) }.map { UInt8($0) }
        var bytes = (0..<Int(random.below(80))).map { _ in allowed[Int(random.below(UInt64(allowed.count)))] }
        let end = bytes.count
        bytes += [[0, 0x0D, 0x0A, 0x1F, 0x7F][Int(random.below(5))]]
        bytes += (0..<Int(random.below(40))).map { _ in UInt8(random.below(256)) }
        let found = bytes.withUnsafeBytes { all in (0...end).map { HTTPBytes.valueEnd(all, from: $0) } }
        #expect(found.allSatisfy { $0 == end })
        #expect(
            bytes.withUnsafeBytes { HTTPBytes.valueEnd(UnsafeRawBufferPointer(rebasing: $0[..<end]), from: 0) } == end)
    }

    @Test("a word is found between blanks and commas only, in any case")
    func words() {
        func has(_ value: String) -> Bool {
            var fields = FieldBlock(table: HopByHop.requestTable)
            fields.append("Connection", value)
            return fields.hasWord("close", in: .connection)
        }
        for value in ["close", "CLOSE", "keep-alive, close", "close,x", "a\tclose", ", ,Close ,"] {
            #expect(has(value))
        }
        for value in ["", "closed", "xclose", "clos", "close-x", "c lose", ","] { #expect(!has(value)) }
    }

    @Test("a connection remembers its credential, and only that one")
    func credentials() throws {
        let memory = CredentialMemory()
        func read(_ pairs: (String, String)...) throws(Problem) -> (Credential, TokenDigest?) {
            var fields = FieldBlock(table: HopByHop.requestTable)
            for (name, value) in pairs { fields.append(name, value) }
            return try memory.read(fields)
        }
        let (key, other) = (APIKeyText.random(), APIKeyText.random())
        for _ in 1...2 {
            let first = try read(("authorization", "Bearer a.b.c"))
            #expect(first.0 == .jwt("a.b.c") && first.1 == TokenDigest("a.b.c"))
            // The same length, one letter apart, at either end.
            for token in ["a.b.d", "x.b.c"] {
                let next = try read(("authorization", "Bearer \(token)"))
                #expect(next.0 == .jwt(token) && next.1 == TokenDigest(token))
            }
            #expect(try read(("x-api-key", key.text)).0 == .apiKey(key))
            #expect(try read(("x-api-key", other.text)).0 == .apiKey(other))
            // The same text in the other field is another credential.
            #expect(throws: Problem.self) { try read(("authorization", other.text)) }
            #expect(try read(("x-api-key", other.text)).0 == .apiKey(other))
            #expect(try read().0 == .none)
            #expect(throws: Problem.self) { try read(("authorization", "Bearer a.b.c"), ("x-api-key", other.text)) }
            #expect(throws: Problem.self) { try read(("x-api-key", other.text), ("x-api-key", other.text)) }
        }
        let long = String(repeating: "a", count: JWTRules.lengthLimit + 1)
        #expect(try read(("authorization", "Bearer \(long)")).1 == nil)
    }

    @Test("the end of a body that has no bytes needs none")
    func ends() {
        var reader = HTTP1RequestReader(headerLimit: 1_024)
        #expect(reader.next() == nil)
        var bytes = ByteBuffer(
            string: "GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n")
        for hasBody in [false, true] {
            guard case .head = reader.next(&bytes) else {
                Issue.record("there is a head")
                return
            }
            if case .end = reader.next() { #expect(!hasBody) } else { #expect(hasBody) }
            #expect(reader.next() == nil)
        }
        #expect(!reader.isBetweenRequests && !reader.isRestAtHand(0) && reader.isRestAtHand(1))
    }
}
