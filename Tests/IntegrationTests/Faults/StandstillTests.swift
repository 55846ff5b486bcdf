import Foundation
import Glibc
import Model
import Synchronization
import TestSupport
import Testing

extension ProcessTests {
    /// A database that answers late or not at all, without being gone: the connections stay.
    ///
    /// Seen to fail: with graphs read from the database although they are in memory, those of a slow one come late; without a limit of
    /// time for what ingest waits for, writes hung until the client gave up.
    @Suite("Faults: a database that stands still or is slow", .serialized)
    struct Standstill {
        private static let plan = ObservationPlan.usual
        /// What a service may need more while clients keep knocking.
        private static let memoryBound = 96.0 * 1_048_576

        /// What clients were answered while it lasted.
        private final class Watch: Sendable {
            struct Seen: Sendable {
                var statuses: [Int: Int] = [:]
                var wrong: [String] = []
                var slowest = Duration.zero
            }
            private let seen = Mutex(Seen())
            var all: Seen { self.seen.withLock { $0 } }

            func note(_ reply: Reply, took: Duration) {
                self.seen.withLock { seen in
                    seen.statuses[reply.status, default: 0] += 1
                    seen.slowest = max(seen.slowest, took)
                    let saysWhen = reply.problem?.retryAfter != nil && reply.header("retry-after") != nil
                    if ![200, 409, 503, 504].contains(reply.status) || (reply.status == 503 && !saysWhen) {
                        seen.wrong.append("\(reply.status) \(reply.text.prefix(200))")
                    }
                }
            }
        }

        /// Sends batches of the plan again that are stored already, without a key: they change nothing when they get through.
        private static func knock(_ stack: Stack, _ watch: Watch, until end: ContinuousClock.Instant) async {
            await withTaskGroup(of: Void.self) { group in
                for client in 0..<12 {
                    group.addTask {
                        while ContinuousClock.now < end {
                            let begin = ContinuousClock.now
                            if let reply = try? await stack.observe(body: Self.plan.body(client)) {
                                watch.note(reply, took: begin.duration(to: .now))
                            }
                            try? await Task.sleep(for: .milliseconds(50))
                        }
                    }
                }
            }
        }

        @Test(
            "PostgreSQL stands still: writes are 503 with retryAfter, graphs in memory are served and say stale, memory is bounded, all goes on by itself",
            .enabled(if: ChaosSettings.isInFull, "takes minutes: make test-faults"), .timeLimit(.minutes(6)))
        func paused() async throws {
            let plan = Self.plan
            let expected = try await ChaosRun.undisturbed(plan)
            let server = try TestCluster.start()
            defer {
                try? server.resume()
                try? server.stopServer()
                server.remove()
            }
            try await ChaosRun.withStack(plan, server: server) { stack in
                let evidence = Evidence(stack: stack, plan: plan)
                let processes = try Stack.serviceNames.map { try stack.program($0).process }
                let half = plan.batches / 2
                try await Delivery(plan, batches: Array(0..<half), to: stack).send()
                _ = try await evidence.settled()
                let path = "/v1/correlation-graph?eventId=fast-one"
                #expect(try await stack.get(path).status == 200)
                let before = try await stack.residentBytes()
                let watch = Watch()
                let seconds = ChaosSettings.pauseSeconds
                try server.pause()
                let end = ContinuousClock.now + .seconds(seconds)
                var peak = before
                var stale = 0
                var took: [Int] = []
                var graphs: [Int: Int] = [:]
                async let knocking: Void = Self.knock(stack, watch, until: end)
                while ContinuousClock.now < end {
                    let begin = ContinuousClock.now
                    let reply = try await stack.get(path)
                    took.append(Int(begin.duration(to: .now) / .milliseconds(1)))
                    graphs[reply.status, default: 0] += 1
                    if reply.status == 200, reply.text.contains(#""state":"stale""#) { stale += 1 }
                    for (name, bytes) in try await stack.residentBytes() { peak[name] = max(peak[name] ?? 0, bytes) }
                    try await Task.sleep(for: .milliseconds(200))
                }
                try server.resume()
                let resumed = ContinuousClock.now
                await knocking
                #expect(Set(graphs.keys) == [200] && stale > 0, "graphs: \(graphs), stale: \(stale)")
                #expect(watch.all.wrong.isEmpty, "\(watch.all.wrong.prefix(3))")
                #expect(watch.all.statuses[503, default: 0] > 0, "\(watch.all.statuses)")
                for (name, bytes) in peak {
                    #expect(bytes - (before[name] ?? 0) < Self.memoryBound, "\(name): \(before) \(peak)")
                }
                let rest = Delivery(plan, batches: Array(half..<plan.batches), to: stack)
                try await stack.eventually("writes pass again", seconds: 30) {
                    try await stack.observe(body: plan.body(0)).status == 200
                }
                let recovery = resumed.duration(to: .now)
                try await rest.send()
                #expect(rest.tally.violations.isEmpty, "\(rest.tally.violations.prefix(5))")
                #expect(try await evidence.difference().missing == 0)
                #expect(try await evidence.difference().unexpected == 0)
                #expect(try await evidence.settled() == expected.graphs)
                try await stack.eventually("no graph is stale any more", seconds: 60) {
                    let reply = try await stack.get(path)
                    return reply.status == 200 && !reply.text.contains(#""state":"stale""#)
                }
                #expect(try Stack.serviceNames.map { try stack.program($0).process } == processes)
                let growth = peak.mapValues { Int($0) }.map { "\($0.key) \($0.value - Int(before[$0.key] ?? 0))" }
                print(
                    "\(seconds) s of standstill: writes \(watch.all.statuses), the slowest answer \(watch.all.slowest), graphs \(graphs) of them stale \(stale), in ms \(took), growth in bytes \(growth), writes again after \(recovery)"
                )
            }
        }

        @Test(
            "every statement takes 200 ms: writes pass or are refused in order, graphs in memory are served at once, nothing is lost",
            .timeLimit(.minutes(6)))
        func slow() async throws {
            let plan = Self.plan
            let expected = try await ChaosRun.undisturbed(plan)
            let server = try TestCluster.start()
            let relay = try DatabaseRelay(to: server)
            defer {
                relay.stop()
                try? server.stopServer()
                server.remove()
            }
            try await ChaosRun.withStack(plan, server: server) { options in
                // As in production: a lease outlives some slow rounds.
                options.settings["LEASE_SECONDS"] = "10"
                for name in options.programs {
                    options.settingsOf[name] = [
                        "DATABASE_URL":
                            "host=\(relay.folder) user=undercurrent dbname=\(options.database) application_name=\(name)"
                    ]
                }
            } _: { stack in
                let evidence = Evidence(stack: stack, plan: plan)
                let half = plan.batches / 2
                try await Delivery(plan, batches: Array(0..<half), to: stack).send()
                _ = try await evidence.settled()
                let before = try await stack.residentBytes()
                relay.set(.init(delayMs: [.toServer: 200]))
                let delivery = Delivery(plan, batches: Array(half..<plan.batches), to: stack)
                async let sent: Void = delivery.send()
                let end = ContinuousClock.now + .seconds(max(8, ChaosSettings.pauseSeconds))
                var slowest = Duration.zero
                var graphs: [Int: Int] = [:]
                var peak = before
                while ContinuousClock.now < end {
                    let begin = ContinuousClock.now
                    let reply = try await stack.get("/v1/correlation-graph?eventId=fast-one")
                    slowest = max(slowest, begin.duration(to: .now))
                    graphs[reply.status, default: 0] += 1
                    for (name, bytes) in try await stack.residentBytes() { peak[name] = max(peak[name] ?? 0, bytes) }
                    try await Task.sleep(for: .milliseconds(100))
                }
                let during = delivery.tally
                relay.set(.init())
                try await sent
                #expect(Set(graphs.keys) == [200], "\(graphs)")
                // Several statements would take longer.
                #expect(slowest < .milliseconds(600), "\(slowest)")
                #expect(during.acknowledged.count > 0, "\(during.refusals)")
                #expect(delivery.tally.violations.isEmpty, "\(delivery.tally.violations.prefix(5))")
                for (name, bytes) in peak {
                    #expect(bytes - (before[name] ?? 0) < Self.memoryBound, "\(name): \(before) \(peak)")
                }
                #expect(
                    try await evidence.difference()
                        == Evidence.Difference(missing: 0, unexpected: 0, logged: Int64(plan.rows)))
                #expect(try await evidence.settled() == expected.graphs)
                print(
                    "200 ms a statement: \(during.acknowledged.count) batches acknowledged, refusals \(during.refusals), graphs \(graphs), the slowest \(slowest)"
                )
            }
        }
    }
}
