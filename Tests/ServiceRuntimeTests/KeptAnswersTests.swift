import HTTPTypes
import Hummingbird
import HummingbirdTesting
import NIOCore
import Synchronization
import Testing

@testable import ServiceRuntime

@Suite("Answers that are kept for a moment")
struct KeptAnswersTests {
    private let start = ContinuousClock.now

    private func kept(ageSeconds: Int = 10, _ limits: KeptAnswers.Limits = .init()) -> KeptAnswers {
        KeptAnswers(maximumAge: .seconds(ageSeconds), limits: limits)
    }

    private func after(_ seconds: Double) -> ContinuousClock.Instant { self.start + .seconds(seconds) }

    @Test("an answer is given until it is too old, and from half its age on one caller is sent to make it anew")
    func age() {
        var kept = self.kept()
        #expect(kept.answer("/a", now: self.start) == nil)
        kept.keep(ByteBuffer(string: "one"), for: "/a", askedAt: self.start)
        #expect(kept.answer("/a", now: self.after(4.9))?.body == ByteBuffer(string: "one"))
        #expect(kept.answer("/b", now: self.after(1)) == nil)
        // One is sent, the others go on.
        #expect(kept.answer("/a", now: self.after(5)) == nil)
        #expect(kept.answer("/a", now: self.after(5)) != nil)
        #expect(kept.answer("/a", now: self.after(9.9)) != nil)
        // Whoever was sent did not come back: all are sent.
        #expect(kept.answer("/a", now: self.after(10)) == nil)
        #expect(kept.answer("/a", now: self.after(10)) == nil)
        kept.keep(ByteBuffer(string: "two"), for: "/a", askedAt: self.after(10))
        #expect(kept.answer("/a", now: self.after(14))?.body == ByteBuffer(string: "two"))
        #expect(kept.count == 1 && kept.bytes == 3)
    }

    @Test("all answers may be let go for memory's sake, and new ones are kept")
    func letGo() {
        var kept = self.kept()
        kept.keep(ByteBuffer(string: "one"), for: "/a", askedAt: self.start)
        kept.removeAll()
        #expect(kept.answer("/a", now: self.start) == nil && kept.count == 0 && kept.bytes == 0)
        kept.keep(ByteBuffer(string: "two"), for: "/a", askedAt: self.start)
        #expect(kept.answer("/a", now: self.after(1))?.body == ByteBuffer(string: "two"))
    }

    @Test("an answer is as old as its question, and does not replace one that was asked for later")
    func order() {
        var kept = self.kept()
        kept.keep(ByteBuffer(string: "later"), for: "/a", askedAt: self.after(2))
        kept.keep(ByteBuffer(string: "slow"), for: "/a", askedAt: self.after(1))
        #expect(kept.answer("/a", now: self.after(3))?.body == ByteBuffer(string: "later"))
        #expect(kept.bytes == 5)
    }

    @Test("with no age nothing is kept; nor are bodies or targets that are too long")
    func notKept() {
        var none = self.kept(ageSeconds: 0)
        none.keep(ByteBuffer(string: "one"), for: "/a", askedAt: self.start)
        #expect(none.count == 0)
        var limits = KeptAnswers.Limits()
        limits.bytesPerAnswer = 3
        limits.bytesPerTarget = 4
        var kept = self.kept(limits)
        kept.keep(ByteBuffer(string: "four"), for: "/a", askedAt: self.start)
        kept.keep(ByteBuffer(string: "one"), for: "/long", askedAt: self.start)
        #expect(kept.count == 0 && kept.bytes == 0)
        kept.keep(ByteBuffer(string: "one"), for: "/fit", askedAt: self.start)
        #expect(kept.count == 1 && kept.bytes == 3)
    }

    @Test("a flood of different questions never takes more room than there is", arguments: [(8, 1_000), (1_000, 64)])
    func bounded(answers: Int, bytes: Int) {
        var limits = KeptAnswers.Limits()
        limits.answers = answers
        limits.bytes = bytes
        var kept = self.kept(limits)
        for index in 0..<500 {
            let now = self.after(Double(index) / 10)
            kept.keep(ByteBuffer(repeating: 0x61, count: index % 17), for: "/\(index)", askedAt: now)
            #expect(kept.count <= answers && kept.bytes <= bytes)
            #expect(kept.answer("/\(index)", now: now) != nil)
        }
    }

    @Test("what a route made is at hand for the next who asks the same; failures are not")
    func cache() async throws {
        struct Word: Encodable { let word: String }
        let cache = AnswerCache(maximumAge: .seconds(3_600))
        let made = Mutex(0)
        let router = Router(context: BasicRequestContext.self)
        router.get("/v1/words/{id}") { request, context in
            let id = try context.parameters.require("id")
            return try await cache.json(request) {
                made.withLock { $0 += 1 }
                if id == "bad" { throw HTTPError(.notFound) }
                return Word(word: id)
            }
        }
        let ready = cache.route("/v1/words/{id}")
        try await Application(router: router).test(.router) { client in
            try await client.execute(uri: "/v1/words/a?x=1", method: .get) { response in
                #expect(String(buffer: response.body) == #"{"word":"a"}"#)
                #expect(response.headers[.age] == nil && response.headers[.contentType] == "application/json")
            }
            try await client.execute(uri: "/v1/words/bad", method: .get) { #expect($0.status == .notFound) }
        }
        let again = try #require(ready.answer("/v1/words/a?x=1", "x=1", [:]))
        #expect(again.body.map { String(buffer: $0) } == #"{"word":"a"}"#)
        #expect(again.headers[.age] == "0" && again.headers[.contentLength] == "12")
        #expect(ready.answer("/v1/words/a?x=1", "x=1", [.cacheControl: "max-age=0, No-Cache"]) == nil)
        #expect(ready.answer("/v1/words/a", "", [:]) == nil)
        #expect(ready.answer("/v1/words/bad", "", [:]) == nil)
        #expect(made.withLock { $0 } == 2)
    }
}
