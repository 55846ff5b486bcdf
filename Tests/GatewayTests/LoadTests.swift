import Model
import NIOCore
import Testing

@testable import Gateway

/// A service with so many workers, each busy for so long with one request; others wait in line. Time in microseconds.
private struct SimulatedService {
    let workers: Int
    let workTime: Int64
    private var freeAt: [Int64]

    init(workers: Int, workTime: Int64) {
        self.workers = workers
        self.workTime = workTime
        self.freeAt = Array(repeating: 0, count: workers)
    }

    /// When a request that comes at `now` is done.
    mutating func finish(at now: Int64) -> Int64 {
        var first = 0
        for index in self.freeAt.indices where self.freeAt[index] < self.freeAt[first] { first = index }
        self.freeAt[first] = max(now, self.freeAt[first]) + self.workTime
        return self.freeAt[first]
    }
}

@Suite("Load")
struct LoadTests {
    /// Answers a second that come within their deadline of 100 ms, after a second of warming up.
    private func goodput(offeredPerSecond: Double, isLimited: Bool) -> Double {
        var service = SimulatedService(workers: 20, workTime: 5_000)
        var limit = GradientLimit()
        var running: [(done: Int64, began: Int64)] = []
        var head = 0
        var random = SplitMix(seed: 7)
        var good = 0
        var now: Double = 0
        while now < 11e6 {
            now += Double(random.below(2_000)) / 1_000 * 1e6 / offeredPerSecond
            let time = Int64(now)
            // Equal work in order of arrival is done in order of arrival.
            while head < running.count, running[head].done <= time {
                let next = running[head]
                head += 1
                let microseconds = next.done - next.began
                limit.end(
                    microseconds > 100_000 ? .refused : .answered(nanoseconds: microseconds * 1_000),
                    now: next.done * 1_000)
                if next.done - next.began <= 100_000, next.done > 1_000_000 { good += 1 }
            }
            guard !isLimited || limit.begin() else { continue }
            running.append((service.finish(at: time), time))
        }
        return Double(good) / 10
    }

    @Test(
        "at three times the load a limited service still gives nine tenths of its best, an unlimited one next to nothing"
    )
    func overload() {
        // 20 workers of 5 ms: 4,000 answers a second at best.
        let peak = self.goodput(offeredPerSecond: 3_800, isLimited: true)
        #expect(peak > 3_500)
        #expect(self.goodput(offeredPerSecond: 12_000, isLimited: true) >= 0.9 * peak)
        #expect(self.goodput(offeredPerSecond: 12_000, isLimited: false) < 0.1 * peak)
    }

    /// What part of each kind is answered within 100 ms when a service is offered this many of each a second.
    private func answered(_ offered: [WorkClass: Double]) -> [WorkClass: Double] {
        var service = SimulatedService(workers: 20, workTime: 5_000)
        var limit = UpstreamLimit()
        var running: [(done: Int64, began: Int64, work: WorkClass)] = []
        var head = 0
        var random = SplitMix(seed: 5)
        var asked: [WorkClass: Double] = [:]
        var good: [WorkClass: Double] = [:]
        let total = offered.values.reduce(0, +)
        var now: Double = 0
        while now < 11e6 {
            now += Double(random.below(2_000)) / 1_000 * 1e6 / total
            let time = Int64(now)
            while head < running.count, running[head].done <= time {
                let next = running[head]
                head += 1
                let microseconds = next.done - next.began
                limit.end(next.work, .answered(nanoseconds: microseconds * 1_000), now: next.done * 1_000)
                if microseconds <= 100_000, next.began > 1_000_000 { good[next.work, default: 0] += 1 }
            }
            var point = Double(random.below(1_000_000)) / 1e6 * total
            let work = WorkClass.allCases.first {
                point -= offered[$0] ?? 0
                return point < 0
            }
            guard let work else { continue }
            if time > 1_000_000 { asked[work, default: 0] += 1 }
            if limit.begin(work) { running.append((service.finish(at: time), time, work)) }
        }
        return asked.reduce(into: [:]) { $0[$1.key] = (good[$1.key] ?? 0) / $1.value }
    }

    @Test("a busy service is kept for reading, then for computing: bulk goes first, whatever the mix")
    func mixedOverload() {
        // 4,000 answers a second at best, three times as many asked for.
        let mixed = self.answered([.read: 2_000, .build: 4_000, .bulk: 6_000])
        #expect(mixed[.read, default: 0] > 0.95, "\(mixed)")
        #expect(mixed[.build, default: 0] > 0.35, "\(mixed)")
        #expect(mixed[.bulk, default: 1] < 0.05, "\(mixed)")
        // Room that nobody before it wants is bulk's.
        let alone = self.answered([.bulk: 12_000])
        #expect(alone[.bulk, default: 0] > 0.3, "\(alone)")
        let light = self.answered([.read: 500, .build: 500, .bulk: 1_500])
        #expect(light.values.allSatisfy { $0 > 0.99 }, "\(light)")
    }

    @Test("what makes one kind slow takes places from that kind, and short waits of clients from nobody")
    func oneKindSlow() {
        var limit = UpstreamLimit()
        var now: Int64 = 0
        func windows(_ count: Int, bulkMilliseconds: Int64) {
            for _ in 0..<count {
                let bulk = (0..<20).filter { _ in limit.begin(.bulk) }.count
                let reads = (0..<20).filter { _ in limit.begin(.read) }.count
                now += GradientLimit.windowNanoseconds
                for _ in 0..<bulk { limit.end(.bulk, .answered(nanoseconds: bulkMilliseconds * 1_000_000), now: now) }
                for _ in 0..<reads * 10 {
                    _ = limit.begin(.read)
                    limit.end(.read, .answered(nanoseconds: 1_000_000), now: now)
                }
                for _ in 0..<reads { limit.end(.read, .answered(nanoseconds: 1_000_000), now: now) }
            }
        }
        windows(20, bulkMilliseconds: 20)
        windows(10, bulkMilliseconds: 200)
        #expect(limit.bound(.bulk).limit < 40, "\(limit.bound(.bulk))")
        #expect(limit.bound(.read).limit >= 50, "\(limit.bound(.read))")
        let before = limit.limit
        for _ in 0..<50 {
            for _ in 0..<20 { _ = limit.begin(.read) }
            now += GradientLimit.windowNanoseconds
            for _ in 0..<20 { limit.end(.read, .abandoned(afterNanoseconds: 1_000_000), now: now) }
        }
        #expect(limit.limit >= before)
    }

    @Test(
        "one answer of twenty seconds among a thousand of a millisecond, or a client that waited so long, is no queue")
    func rareLongAnswers() {
        for long in [
            GradientLimit.Outcome.answered(nanoseconds: 20_000_000_000), .abandoned(afterNanoseconds: 20_000_000_000),
        ] {
            var limit = UpstreamLimit()
            var now: Int64 = 0
            for round in 0..<600 {
                // A tenth of a second, with a hundred reads of which four are there at once.
                for _ in 0..<25 {
                    for _ in 0..<4 { _ = limit.begin(.read) }
                    now += GradientLimit.windowNanoseconds / 25
                    for _ in 0..<4 { limit.end(.read, .answered(nanoseconds: 1_000_000), now: now) }
                }
                guard round % 10 == 9, limit.begin(.read) else { continue }
                limit.end(.read, long, now: now)
            }
            #expect(limit.limit >= GradientLimit.initial, "\(long): \(limit.limit)")
            #expect(limit.bound(.read).limit >= Int(GradientLimit.initial * WorkClass.read.share))
        }
    }

    @Test("a service that stands still for a moment goes on taking the few writes and reads that come")
    func standsStill() {
        var limit = UpstreamLimit()
        var now: Int64 = 0
        // Answers of a second instead of a thousandth, again and again: as slow as it gets.
        for round in 0..<200 {
            let works: [WorkClass] = (0..<12).map { $0 < 4 ? .read : .bulk }
            for work in works {
                let isTaken = limit.begin(work)
                #expect(isTaken, "round \(round)")
            }
            now += GradientLimit.windowNanoseconds
            let nanoseconds: Int64 = round < 20 ? 1_000_000 : 1_000_000_000
            for work in works { limit.end(work, .answered(nanoseconds: nanoseconds), now: now) }
        }
        #expect(limit.limit == UpstreamLimit.least)
    }

    @Test("a limit shrinks under refusals, never below its floor, and grows again only when it is used")
    func bounds() {
        var limit = GradientLimit()
        var now: Int64 = 0
        func rounds(_ limit: inout GradientLimit, _ count: Int, width: Int, isDropped: Bool) {
            for _ in 0..<count {
                var held = 0
                for _ in 0..<width where limit.begin() { held += 1 }
                now += GradientLimit.windowNanoseconds
                for _ in 0..<held { limit.end(isDropped ? .refused : .answered(nanoseconds: 1_000_000), now: now) }
            }
        }
        rounds(&limit, 200, width: 30, isDropped: true)
        #expect(limit.limit == GradientLimit.least)
        rounds(&limit, 200, width: 4, isDropped: false)
        #expect(limit.limit == GradientLimit.least)
        rounds(&limit, 400, width: 2_000, isDropped: false)
        #expect(limit.limit > 500 && limit.limit <= GradientLimit.most)
        #expect(limit.inFlight == 0)
    }

    @Test("answers of a fraction of a millisecond that take ten times as long for a while cost no places, a queue does")
    func noise() {
        var limit = GradientLimit()
        var now: Int64 = 0
        func windows(_ count: Int, milliseconds: Double) {
            for _ in 0..<count {
                let held = (0..<32).filter { _ in limit.begin() }.count
                now += GradientLimit.windowNanoseconds
                for _ in 0..<held { limit.end(.answered(nanoseconds: Int64(milliseconds * 1e6)), now: now) }
            }
        }
        windows(20, milliseconds: 0.3)
        let before = limit.limit
        windows(20, milliseconds: 3)
        #expect(limit.limit >= before)
        windows(20, milliseconds: 300)
        #expect(limit.limit < 0.5 * before)
    }

    @Test("bulk goes first, then computing, then reading; health always has room")
    func classes() {
        let inFlight = InFlight(limit: 100)
        for _ in 0..<70 { #expect(inFlight.enter()) }
        #expect(!inFlight.enter(share: WorkClass.bulk.share))
        #expect(inFlight.enter(share: WorkClass.build.share))
        for _ in 0..<14 { #expect(inFlight.enter(share: WorkClass.build.share)) }
        #expect(!inFlight.enter(share: WorkClass.build.share))
        for _ in 0..<10 { #expect(inFlight.enter(share: WorkClass.read.share)) }
        #expect(!inFlight.enter(share: WorkClass.read.share))
        #expect(inFlight.enter(share: WorkClass.health.share))
        func work(_ method: APIRoute.Method, _ path: String) -> WorkClass? {
            APIRoute.all.first { $0.method == method && $0.path == path }?.workClass
        }
        #expect(work(.post, "/v1/observations") == .bulk)
        #expect(work(.post, "/v1/root-causes") == .build)
        #expect(work(.get, "/v1/correlation-graph") == .read)
        #expect(work(.get, "/v1/events/{id}/changes") == .build)
        #expect(work(.get, "/v1/graphs/diff") == .build)
        #expect(work(.get, "/livez") == .health)
        #expect(work(.get, "/v1/keys") == .health)
    }

    @Test("near its memory ceiling the gateway refuses ingest, then computing, then reading")
    func memory() {
        let load = LoadControl(memoryCeiling: 1_000)
        func refused() -> [WorkClass] { WorkClass.allCases.filter { load.memoryExcess($0) != nil } }
        load.setResident(899)
        #expect(refused().isEmpty)
        load.setResident(920)
        #expect(refused() == [.bulk])
        load.setResident(960)
        #expect(refused() == [.build, .bulk])
        load.setResident(1_001)
        #expect(refused() == [.read, .build, .bulk])
        #expect(LoadControl().memoryExcess(.bulk) == nil)
    }

    @Test("second attempts stay below a fifth of the requests, and a few are always allowed")
    func budget() {
        var budget = RetryBudget()
        var now: Int64 = 0
        var allowed = 0
        for _ in 0..<10_000 {
            now += 1_000_000
            budget.deposit(now: now)
            if budget.withdraw(now: now) { allowed += 1 }
        }
        // 10 s of 1,000/s: 2,000 by share, 20 by time, 10 at the beginning.
        #expect((1_900...2_030).contains(allowed))
        var quiet = RetryBudget()
        #expect((0..<30).filter { _ in quiet.withdraw(now: 0) }.count == 10)
        #expect((0..<30).filter { _ in quiet.withdraw(now: 2_000_000_000) }.count == 4)
    }

    @Test("a ring keeps the latest refusals and no more")
    func ring() {
        var ring = DecisionRing(capacity: 3)
        func decision(_ id: String, _ status: Int = 429) -> Decision {
            Decision(
                traceId: id, time: Timestamp(milliseconds: 0), method: "GET", route: "-", peer: "-", caller: "-",
                status: status, code: "rate-limited", detail: "", compared: [:])
        }
        for id in ["a", "b", "a", "c"] { ring.add(decision(id)) }
        #expect(ring.count == 3)
        #expect(ring.find("a") != nil && ring.find("b") != nil && ring.find("c") != nil)
        ring.add(decision("d", 401))
        #expect(ring.find("b") == nil)
        #expect(ring.find("d")?.status == 401)
    }
}

@Suite("Rules of the edge")
struct EdgeRuleTests {
    @Test("blocks of addresses")
    func blocks() throws {
        let private4 = try #require(AddressBlock("10.0.0.0/8"))
        #expect(private4.contains("10.255.0.1") && !private4.contains("11.0.0.1") && !private4.contains("::1"))
        #expect(private4.contains("::ffff:10.1.2.3"))
        let six = try #require(AddressBlock("2001:db8::/33"))
        #expect(six.contains("2001:db8:7fff::1") && !six.contains("2001:db8:8000::1"))
        #expect(try #require(AddressBlock("192.0.2.1")).contains("192.0.2.1"))
        #expect(try #require(AddressBlock("0.0.0.0/0")).contains("203.0.113.9"))
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "a/8", "10.0.0.0/-1", "10.0.0.0/+8", "::/129"] {
            #expect(AddressBlock(wrong) == nil)
        }
    }

    @Test("a stranger's trace is not continued, a caller's and a trusted address's is")
    func trust() throws {
        let block = try #require(AddressBlock("10.0.0.0/8"))
        let usual = TraceTrust(blocks: [block])
        #expect(!usual.trusts(peer: "192.0.2.1", hasCredential: false))
        #expect(usual.trusts(peer: "192.0.2.1", hasCredential: true))
        #expect(usual.trusts(peer: "10.1.1.1", hasCredential: false))
        let strict = TraceTrust(rule: .addresses, blocks: [block])
        #expect(!strict.trusts(peer: "192.0.2.1", hasCredential: true))
        #expect(TraceTrust(rule: .all).trusts(peer: nil, hasCredential: false))
    }

    @Test("only named origins may read, and none when none is named")
    func origins() {
        #expect(CrossOrigin.none.lines(origin: "https://a.example") == "")
        let one = CrossOrigin(origins: ["https://a.example"])
        #expect(one.lines(origin: "https://a.example").hasPrefix("access-control-allow-origin: https://a.example\r\n"))
        #expect(one.lines(origin: "https://b.example") == "vary: origin\r\n")
        #expect(one.lines(origin: nil) == "vary: origin\r\n")
        #expect(CrossOrigin.origin("https://a.example:8443") == "https://a.example:8443")
        for wrong in ["*", "null", "https://", "https://a/b", "a.example", "https://u@a", "ftp://a"] {
            #expect(CrossOrigin.origin(wrong) == nil)
        }
    }

    @Test("plain HTTP leads to the same place with TLS, and nowhere else")
    func redirect() {
        func location(_ host: String?, _ target: String, _ port: Int = 443) -> String? {
            RedirectListener.location(host: host, target: target, securePort: port)
        }
        #expect(location("a.example", "/x?y=1") == "https://a.example/x?y=1")
        #expect(location("a.example:80", "/", 8443) == "https://a.example:8443/")
        #expect(location("[::1]:80", "/") == "https://[::1]/")
        for (host, target) in [(nil, "/"), ("a/b", "/"), ("a\r\nx: y", "/"), ("a", "//x y"), ("a", "x"), ("", "/")] {
            #expect(location(host, target) == nil)
        }
    }

    @Test("keys are fetched once per cool-down, and a name that is not there is not looked for again")
    func keyRefresh() {
        var refresh = KeyRefresh()
        #expect(refresh.verdict(keyID: "a", now: 0) == .fetch)
        #expect(refresh.verdict(keyID: "b", now: 1_000_000_000) == .wait(4_000_000_000))
        refresh.isAbsent("a", now: 0)
        #expect(refresh.verdict(keyID: "a", now: 6_000_000_000) == .absent)
        var fetches = 0
        for index in 0..<100_000
        where refresh.verdict(keyID: "x\(index)", now: 6_000_000_000 + Int64(index) * 1_000_000) == .fetch {
            fetches += 1
        }
        // 100 s of a thousand made-up names a second.
        #expect(fetches == 20)
        #expect(refresh.verdict(keyID: "a", now: 200_000_000_000) == .fetch)
    }
}
