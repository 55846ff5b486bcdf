import Foundation
import Model
import Synchronization
import Testing

@testable import Gateway

@Suite("API keys")
struct APIKeyTests {
    @Test("a new key has 256 random bits, reads back, and hides its secret")
    func newKey() throws {
        let keys = (0..<200).map { _ in APIKeyText.random() }
        #expect(Set(keys.map(\.id)).count == 200)
        #expect(Set(keys.map(\.secret)).count == 200)
        for key in keys {
            #expect(APIKeyText(key.text) == key)
            #expect(key.secretHash.count == 32)
            #expect(key.matches(hash: key.secretHash))
            #expect(!"\(key)".contains(key.secret))
            #expect(!String(reflecting: key).contains(key.secret))
        }
        #expect(!keys[0].matches(hash: keys[1].secretHash))
        #expect(!keys[0].matches(hash: []))
    }

    @Test("anything that has not exactly the form is no key")
    func form() {
        let good = APIKeyText.random().text
        for text in [
            "", "uc_", String(good.dropLast()), good + "A", good.uppercased(), good.replacing("uc_", with: "ud_"),
            good.replacing("_", with: "-"), String(good.dropLast()) + "é", String(good.dropLast()) + "=",
        ] {
            #expect(APIKeyText(text) == nil)
        }
    }

    @Test("the credential is read from one place only")
    func credential() throws {
        let key = APIKeyText.random()
        func read(_ pairs: [(String, String)]) throws -> Credential {
            var fields = FieldBlock(table: HopByHop.requestTable)
            for (name, value) in pairs { fields.append(name, value) }
            return try Credential.read(fields)
        }
        #expect(try read([]) == .none)
        #expect(try read([("X-API-Key", key.text)]) == .apiKey(key))
        #expect(try read([("Authorization", "Bearer \(key.text)")]) == .apiKey(key))
        #expect(try read([("authorization", "bearer  \(key.text) ")]) == .apiKey(key))
        #expect(try read([("Authorization", "Bearer a.b.c")]) == .jwt("a.b.c"))
        let several = #expect(throws: Problem.self) {
            try read([("Authorization", "Bearer a.b.c"), ("X-API-Key", key.text)])
        }
        #expect(several?.status == 400)
        for value in ["Basic YTpi", "Bearer", "", "Bearer uc_x"] {
            let error = #expect(throws: Problem.self) { try read([("Authorization", value)]) }
            #expect(error?.status == 401)
        }
    }

    /// Seen to fail: without looking at the time a key expires.
    @Test("revoked, expired, wrong and unknown keys are refused; wrong and revoked read the same")
    func rows() throws {
        let key = APIKeyText.random()
        let now = Timestamp(milliseconds: 1_000_000)
        func row(expires: Int64? = nil, revoked: Int64? = nil) -> APIKeyRecord {
            APIKeyRecord(
                id: key.id, secretHash: key.secretHash, caller: "c", scopes: [.read],
                expiresAt: expires.map(Timestamp.init(milliseconds:)),
                revokedAt: revoked.map(Timestamp.init(milliseconds:)), createdAt: now)
        }
        #expect(try row(expires: 1_000_001).caller(presenting: key, now: now).name == "c")
        #expect(throws: APIKeyRecord.unknown) { try row(revoked: 5).caller(presenting: key, now: now) }
        #expect(throws: APIKeyRecord.unknown) { try row().caller(presenting: .random(), now: now) }
        let expired = #expect(throws: Problem.self) { try row(expires: 1_000_000).caller(presenting: key, now: now) }
        #expect(expired?.code == .credentialExpired)
    }
}

/// A table of keys in memory that can be away, and counts.
final class FakeKeys: APIKeyLookup {
    struct Away: Error {}
    struct State {
        var rows: [String: APIKeyRecord] = [:]
        var isAway = false
        var lookups = 0
    }
    let state = Mutex(State())

    func find(id: String) async throws -> APIKeyRecord? {
        try self.state.withLock { state in
            state.lookups += 1
            if state.isAway { throw Away() }
            return state.rows[id]
        }
    }

    func add(_ key: APIKeyText, revoked: Bool = false) {
        let row = APIKeyRecord(
            id: key.id, secretHash: key.secretHash, caller: "caller-\(key.id.prefix(4))", scopes: [.read],
            expiresAt: nil, revokedAt: revoked ? Timestamp(milliseconds: 1) : nil, createdAt: Timestamp(milliseconds: 0)
        )
        self.state.withLock { $0.rows[key.id] = row }
    }

    func setAway(_ isAway: Bool) { self.state.withLock { $0.isAway = isAway } }
    var lookups: Int { self.state.withLock { $0.lookups } }
}

@Suite("API key authority")
struct APIKeyAuthorityTests {
    final class Clock: Sendable {
        let now = Mutex<Int64>(0)
        func advance(seconds: Double) { self.now.withLock { $0 += Int64(seconds * 1e9) } }
    }

    let keys = FakeKeys()
    let clock = Clock()
    let wall = Timestamp(milliseconds: 1_000)

    private func authority() -> APIKeyAuthority {
        let clock = self.clock
        return APIKeyAuthority(lookup: self.keys, now: { clock.now.withLock { $0 } })
    }

    private func status(_ authority: APIKeyAuthority, _ key: APIKeyText) async -> Int {
        do throws(Problem) {
            _ = try await authority.caller(presenting: key, wallClock: self.wall)
            return 200
        } catch {
            return error.status
        }
    }

    @Test("a known key costs one look-up, then memory; a thousand at once cost one")
    func cached() async {
        let key = APIKeyText.random()
        self.keys.add(key)
        let authority = self.authority()
        await withTaskGroup { group in
            for _ in 0..<1_000 { group.addTask { #expect(await self.status(authority, key) == 200) } }
        }
        #expect(self.keys.lookups == 1)
    }

    @Test("a revocation is known within four seconds of use, and another secret never works")
    func revocation() async {
        let key = APIKeyText.random()
        self.keys.add(key)
        let authority = self.authority()
        #expect(await self.status(authority, key) == 200)
        self.keys.add(key, revoked: true)
        #expect(await self.status(authority, key) == 200)
        self.clock.advance(seconds: 4)
        #expect(await self.status(authority, key) == 401)
        let forged = APIKeyText("uc_\(key.id)_\(APIKeyText.random().secret)")
        if let forged { #expect(await self.status(authority, forged) == 401) }
    }

    @Test("a key that is made after it was asked for works within four seconds")
    func creation() async {
        let key = APIKeyText.random()
        let authority = self.authority()
        #expect(await self.status(authority, key) == 401)
        self.keys.add(key)
        self.clock.advance(seconds: 4)
        #expect(await self.status(authority, key) == 200)
    }

    @Test("a flood of unknown keys meets a bounded number of look-ups, and known callers notice nothing")
    func flood() async {
        let known = APIKeyText.random()
        self.keys.add(known)
        let authority = self.authority()
        #expect(await self.status(authority, known) == 200)
        var statuses: [Int: Int] = [:]
        for _ in 0..<3_000 { statuses[await self.status(authority, .random()), default: 0] += 1 }
        #expect(self.keys.lookups == 500)
        #expect(statuses[401] == 499)
        #expect(statuses[503] == 2_501)
        #expect(await self.status(authority, known) == 200)
    }

    @Test("while the database is away known keys work for five minutes and new ones are told to come back")
    func away() async {
        let key = APIKeyText.random()
        self.keys.add(key)
        let authority = self.authority()
        #expect(await self.status(authority, key) == 200)
        self.keys.setAway(true)
        #expect(await self.status(authority, .random()) == 503)
        self.clock.advance(seconds: 200)
        let before = self.keys.lookups
        for _ in 0..<50 { #expect(await self.status(authority, key) == 200) }
        // After a failure the database is left alone for a second.
        #expect(self.keys.lookups - before == 1)
        self.clock.advance(seconds: 101)
        #expect(await self.status(authority, key) == 503)
        self.keys.setAway(false)
        self.clock.advance(seconds: 2)
        #expect(await self.status(authority, key) == 200)
    }

    @Test("the cache is bounded, and absences cannot push out keys")
    func bounded() {
        var cache = APIKeyCache(capacity: 100)
        let key = APIKeyText.random()
        let row = APIKeyRecord(
            id: key.id, secretHash: [], caller: "c", scopes: [], expiresAt: nil, revokedAt: nil,
            createdAt: Timestamp(milliseconds: 0))
        cache.confirm(id: key.id, row: row, now: 0)
        for index in 0..<10_000 { cache.confirm(id: "\(index)", row: nil, now: 0) }
        #expect(cache.count.absences <= 100)
        #expect(cache.answer(id: key.id, now: 0) == .row(row))
        #expect(cache.answer(id: "9999", now: 0) == .absent)
        #expect(cache.answer(id: "9999", now: 4_000_000_000) == .ask)
    }
}
