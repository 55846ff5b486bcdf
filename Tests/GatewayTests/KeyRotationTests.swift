import Foundation
import Logging
import Model
import Testing

@testable import Gateway

@Suite("Keys of tokens from elsewhere")
struct KeyRotationTests {
    private let forge = TokenForge()
    private let wallClock = Timestamp(milliseconds: Int64(TokenForge.now) * 1_000)

    /// Keys that a test changes, counting how often they are read.
    private actor Published {
        private(set) var reads = 0
        private var keys: String?

        init(_ keys: String?) { self.keys = keys }

        func publish(_ keys: String?) { self.keys = keys }

        func read() throws(KeySetError) -> [UInt8] {
            self.reads += 1
            guard let keys else { throw KeySetError("is away") }
            return Array(keys.utf8)
        }

        nonisolated func source(staleAfter: Duration? = nil) -> KeySource {
            KeySource(interval: .seconds(60), staleAfter: staleAfter, mayBeginEmpty: true) { () throws(KeySetError) in
                try await self.read()
            }
        }
    }

    @Test("a token of a new key is believed at once, by all who come together with one fetch")
    func rotation() async throws {
        let published = Published(#"{"keys":[\#(self.forge.ecdsaEntry)]}"#)
        let authority = try await JWTAuthority(
            source: published.source(), rules: self.forge.rules, logger: Logger(label: "test"))
        let token = try self.forge.eddsaToken(self.forge.claims())
        await published.publish(self.forge.keySet)
        #expect(try authority.namesUnknownKey(token))
        try await withThrowingTaskGroup(of: String.self) { group in
            for _ in 0..<100 {
                group.addTask {
                    try await authority.callerAfterRefresh(presenting: token, wallClock: self.wallClock).name
                }
            }
            for try await name in group { #expect(name == "alice") }
        }
        #expect(await published.reads == 2)
        #expect(try !authority.namesUnknownKey(token))
    }

    @Test("made-up key names cost one fetch, and the last good keys stay while the source is away")
    func flood() async throws {
        let published = Published(self.forge.keySet)
        let authority = try await JWTAuthority(
            source: published.source(), rules: self.forge.rules, logger: Logger(label: "test"))
        await published.publish(nil)
        for index in 0..<200 {
            let token = try self.forge.ecdsaToken(
                self.forge.claims(), header: #"{"alg":"ES256","kid":"made-up-\#(index)"}"#)
            let problem = await #expect(throws: Problem.self) {
                try await authority.callerAfterRefresh(presenting: token, wallClock: self.wallClock)
            }
            // Nobody knows whether it is there: that is no refusal.
            #expect(problem?.status == 503 && problem?.retryAfter.map { $0 > 0 && $0 <= 5 } == true, "\(index)")
        }
        #expect(await published.reads == 2)
        let good = try self.forge.ecdsaToken(self.forge.claims())
        #expect(try authority.caller(presenting: good, wallClock: self.wallClock).name == "alice")
    }

    @Test("a key that could not be looked for because the source was away is believed as soon as it is read")
    func failedFetch() async throws {
        let published = Published(#"{"keys":[\#(self.forge.ecdsaEntry)]}"#)
        let authority = try await JWTAuthority(
            source: published.source(), rules: self.forge.rules, logger: Logger(label: "test"))
        let token = try self.forge.eddsaToken(self.forge.claims())
        await published.publish(nil)
        for _ in 0..<3 {
            let problem = await #expect(throws: Problem.self) {
                try await authority.callerAfterRefresh(presenting: token, wallClock: self.wallClock)
            }
            #expect(problem?.status == 503)
        }
        #expect(await published.reads == 2)
        await published.publish(self.forge.keySet)
        await authority.reload()
        #expect(
            try await authority.callerAfterRefresh(presenting: token, wallClock: self.wallClock).name == "alice")
        // A set that was read and does not have the key is an answer.
        let other = try self.forge.ecdsaToken(self.forge.claims(), header: #"{"alg":"ES256","kid":"made-up"}"#)
        let fresh = try await JWTAuthority(
            source: published.source(), rules: self.forge.rules, logger: Logger(label: "test"))
        for _ in 0..<2 {
            let problem = await #expect(throws: Problem.self) {
                try await fresh.callerAfterRefresh(presenting: other, wallClock: self.wallClock)
            }
            #expect(problem?.status == 401)
        }
    }

    @Test("keys that could not be read for too long are not believed, and without keys tokens are 503")
    func stale() async throws {
        let published = Published(self.forge.keySet)
        let authority = try await JWTAuthority(
            source: published.source(staleAfter: .seconds(1)), rules: self.forge.rules, logger: Logger(label: "test"))
        let good = try self.forge.ecdsaToken(self.forge.claims())
        #expect(try authority.caller(presenting: good, wallClock: self.wallClock).name == "alice")
        await published.publish(nil)
        try await Task.sleep(for: .seconds(1.1))
        let problem = #expect(throws: Problem.self) {
            try authority.caller(presenting: good, wallClock: self.wallClock)
        }
        #expect(problem?.status == 503)
        await published.publish(self.forge.keySet)
        await authority.reload()
        #expect(try authority.caller(presenting: good, wallClock: self.wallClock).name == "alice")
        let empty = try await JWTAuthority(
            source: Published(nil).source(), rules: self.forge.rules, logger: Logger(label: "test"))
        #expect(throws: Problem.self) { try empty.caller(presenting: good, wallClock: self.wallClock) }
    }
}
