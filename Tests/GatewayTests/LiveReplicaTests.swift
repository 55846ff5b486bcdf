import Foundation
import Logging
import Model
import NIOCore
import Postgres
import ServiceLifecycle
import ServiceRuntime
import Synchronization
import Testing

@testable import Gateway

@Suite("Replicas that are stopping, slow or gone", .serialized)
struct LiveReplicaTests {
    @Test("deadlines that a client shortened are not held against a service, those of the gateway are")
    func deadlines() async throws {
        try await LiveGateway.with {
            $0.door.requestMs = 400
        } _: { live in
            let key = try await live.key()
            func slow(_ headers: [(String, String)]) async throws -> Int {
                try await live.send("GET", "/v1/events/slow", key: key, headers: headers).status
            }
            let directory = live.gateway.directory
            for _ in 0..<8 { #expect(try await slow([("X-Request-Timeout-Ms", "100")]) == 504) }
            #expect(directory.leftOut.ejected == 0)
            for _ in 0..<5 { #expect(try await slow([]) == 504) }
            #expect(directory.leftOut.ejected == 1)
            // It is the only one, so it is asked all the same, and its answer counts.
            #expect(try await live.send("GET", "/v1/events", key: key).status == 200)
            #expect(directory.leftOut.ejected == 0)
        }
    }

    @Test("a deadline that a client shortened by a little does not excuse a replica that hangs")
    func slightlyShortened() async throws {
        try await LiveGateway.with {
            $0.door.requestMs = 1_000
        } _: { live in
            let key = try await live.key()
            for _ in 0..<5 {
                let answer = try await live.send(
                    "GET", "/v1/events/slow", key: key, headers: [("X-Request-Timeout-Ms", "900")])
                #expect(answer.status == 504)
            }
            #expect(live.gateway.directory.leftOut.ejected == 1)
        }
    }

    @Test("requests that are refused for want of a place use up neither the trial of a replica nor second attempts")
    func refusedBeforeSending() async throws {
        try await LiveGateway.with {
            $0.breaker = Self.quickBreaker
        } _: { live in
            let key = try await live.key()
            let directory = live.gateway.directory
            try await Self.leaveOut(live)
            let load = live.gateway.core.load
            var permits: [LoadControl.Permit] = []
            while let permit = load.begin(.graphBuilder, .read) { permits.append(permit) }
            while directory.mayRetry(.graphBuilder) {}
            let start = ContinuousClock.now
            for _ in 0..<100 {
                #expect(try await live.send("GET", "/v1/events", key: key).problem?.code == .overloaded)
            }
            var retries = 0
            while directory.mayRetry(.graphBuilder) { retries += 1 }
            let earned = (ContinuousClock.now - start) / .seconds(1) * RetryBudget.floorPerSecond
            #expect(Double(retries) <= earned + 1)
            #expect(Self.isUsed(live))
            for permit in permits { load.end(permit, .unknown) }
        }
    }

    @Test("a trial whose client left it too little time leaves the trial to the next request")
    func trialWithoutVerdict() async throws {
        try await LiveGateway.with {
            $0.breaker = Self.quickBreaker
        } _: { live in
            let key = try await live.key()
            try await Self.leaveOut(live)
            let answer = try await live.send(
                "GET", "/v1/events/slow", key: key, headers: [("X-Request-Timeout-Ms", "100")])
            #expect(answer.status == 504)
            #expect(Self.isUsed(live))
        }
    }

    private static let quickBreaker = CircuitBreaker.Rule(failures: 2, window: .seconds(60), pause: .seconds(1))

    /// The builder is left out, and the time for its trial has come.
    private static func leaveOut(_ live: LiveGateway) async throws {
        let address = "http://127.0.0.1:\(live.builderPort)"
        for _ in 0..<2 { live.gateway.directory.failed(address, sentAt: MonotonicClock.nanoseconds()) }
        #expect(live.gateway.directory.leftOut.ejected == 1)
        try await LiveFailureTests.eventually { live.gateway.directory.leftOut.ejected == 0 }
    }

    /// Whether the builder gets requests when there is another replica.
    private static func isUsed(_ live: LiveGateway) -> Bool {
        let address = "http://127.0.0.1:\(live.builderPort)"
        var map = ShardMap()
        map.replicas[.graphBuilder] = [address, "http://127.0.0.1:1"]
        live.gateway.directory.take(map)
        return (0..<2).contains { _ in
            live.gateway.directory.candidates(for: .graphBuilder, shard: nil).contains(address)
        }
    }

    @Test("a check of health ends in time when the answer begins and does not end")
    func stalledCheck() async throws {
        try await LiveGateway.with { live in
            live.builder.stallReadiness()
            let start = ContinuousClock.now
            let known = await live.gateway.probe.round([:])
            #expect(ContinuousClock.now - start < .seconds(5))
            #expect(known["http://127.0.0.1:\(live.builderPort)"] == .unanswered)
            #expect(known.values.count { $0 == .ready } == 1)
        }
    }

    @Test("rounds of checks begin a second apart, however long the slowest replica takes of it")
    func paceOfRounds() async throws {
        let directory = ServiceDirectory(pool: nil, fallback: [.graphBuilder: ["http://a:1"]], logger: .quiet)
        let begun = Mutex<[ContinuousClock.Instant]>([])
        let probe = ReplicaProbe(directory: directory, logger: .quiet) { _ in
            begun.withLock { $0.append(.now) }
            try? await Task.sleep(for: .milliseconds(800))
            return .ready
        }
        let run = Task { try await probe.run() }
        try await Task.sleep(for: .seconds(5.5))
        run.cancel()
        _ = await run.result
        let times = begun.withLock { $0 }
        try #require(times.count >= 4)
        #expect(times[3] - times[0] < .seconds(4.5))
    }

    @Test("short deadlines of one caller leave as many places to others as before")
    func places() async throws {
        try await LiveGateway.with { live in
            let key = try await live.key()
            let before = live.gateway.core.load.figures(.graphBuilder, .read).bound.limit
            for _ in 0..<5 {
                await withTaskGroup(of: Void.self) { group in
                    for _ in 0..<15 {
                        group.addTask {
                            _ = try? await live.send(
                                "GET", "/v1/events/slow", key: key, headers: [("X-Request-Timeout-Ms", "120")])
                        }
                    }
                }
            }
            let after = live.gateway.core.load.figures(.graphBuilder, .read)
            #expect(after.bound.limit >= before && after.inFlight == 0, "\(after) \(before)")
        }
    }

    @Test("a replica that says it is stopping gets nothing while there is another, and is asked when there is none")
    func stopping() async throws {
        try await LiveGateway.with { live in
            let key = try await live.key()
            let probe = live.gateway.probe
            live.builder.setReady(false)
            var known = await probe.round([:])
            #expect(live.gateway.directory.leftOut.unready == 1)
            #expect(try await live.send("GET", "/v1/events", key: key).text.contains("builder"))
            let other = FakeService(name: "other")
            let ports = Ports()
            let server = Task { try await other.application { await ports.set("other", $0) }.run() }
            let port = try await ports.wait("other")
            try await live.pool.query(
                "INSERT INTO replicas VALUES ('other', 'graph-builder', $1, now() + interval '4 minutes')",
                [.text("127.0.0.1:\(port)")])
            try await live.gateway.directory.refresh()
            for _ in 0..<10 { #expect(try await live.send("GET", "/v1/events", key: key).text.contains("other")) }
            live.builder.setReady(true)
            known = await probe.round(known)
            #expect(live.gateway.directory.leftOut.unready == 0)
            var names: Set<String> = []
            for _ in 0..<10 { names.insert(try await live.send("GET", "/v1/events", key: key).text) }
            #expect(names.count == 2)
            // One that is gone comes last after one check and is left out after two.
            server.cancel()
            _ = await server.result
            known = await probe.round(known)
            #expect(live.gateway.directory.leftOut.unready == 0)
            known = await probe.round(known)
            #expect(live.gateway.directory.leftOut.unready == 1)
            #expect(known.values.filter { $0 == .unanswered }.count == 1)
        }
    }

    @Test("each replica is asked once at a time, and only so many at once")
    func probes() async throws {
        let directory = ServiceDirectory(
            pool: nil, fallback: [.graphBuilder: (0..<100).map { "http://a:\($0 + 1)" }], logger: .quiet)
        let running = Mutex<(now: Set<String>, most: Int, asked: Int)>(([], 0, 0))
        let probe = ReplicaProbe(directory: directory, logger: .quiet) { address in
            running.withLock {
                #expect($0.now.insert(address).inserted)
                $0.most = max($0.most, $0.now.count)
                $0.asked += 1
            }
            try? await Task.sleep(for: .milliseconds(5))
            running.withLock { _ = $0.now.remove(address) }
            return address.hasSuffix("7") ? .unready : .ready
        }
        let found = await probe.round([:])
        #expect(found.count == 100 && directory.leftOut.unready == 10)
        #expect(running.withLock { $0.most } <= ReplicaProbe.concurrency && running.withLock { $0.asked } == 100)
    }

    @Test("what a service refused is told to administrators like what the gateway refused")
    func shedByService() async throws {
        try await LiveGateway.with { live in
            let key = try await live.key()
            let admin = try await live.key([.admin])
            let busy = try await live.send("GET", "/v1/events/busy", key: key)
            let trace = try #require(busy["traceparent"]?.split(separator: "-").dropFirst().first)
            let answer = try await live.send("GET", "/v1/decisions/\(trace)", key: admin)
            let decision = try JSONDecoder().decode(Decision.self, from: answer.body)
            #expect(decision.status == 503 && decision.code == "unavailable" && decision.detail == "catching up")
            #expect(decision.caller == "caller-\(key.id)" && decision.route == "/v1/events/{id}")
            #expect(decision.compared["service.replica"] == "http://127.0.0.1:\(live.builderPort)")
        }
    }
}
