import Foundation
import Glibc
import TestSupport
import Testing

extension ProcessTests {
    /// Seen to fail: with the row of `idempotency_keys` written in a transaction of its own behind the one with the
    /// observations, stored answers stand apart; with `synchronous_commit=off` at the server, acknowledged observations are
    /// missing after its crash, and graphs differ.
    @Suite("Chaos: killed programs", .serialized)
    struct Kills {
        /// Batches that are acknowledged between two kills, at least.
        static let batchesPerKill = 40

        @Test(
            "graph-builder is killed at random moments of ingest: nothing is lost or doubled, every graph is as without"
        )
        func graphBuilder() async throws {
            try await self.survive(ChaosSettings.builderKills, seed: ChaosSettings.seed) { stack in
                try await Self.killAndStart("graph-builder", stack)
            }
        }

        @Test(
            "the gateway is killed at random moments of ingest: nothing is lost or doubled, every graph is as without"
        )
        func gateway() async throws {
            try await self.survive(ChaosSettings.gatewayKills, seed: ChaosSettings.seed + 2) { stack in
                try await Self.killAndStart("gateway", stack)
            }
        }

        @Test("PostgreSQL is killed at random moments of ingest: nothing is lost or doubled, every graph is as without")
        func server() async throws {
            try await self.survive(ChaosSettings.serverKills, seed: ChaosSettings.seed + 1) { stack in
                try await stack.cluster.crash()
            }
        }

        private static func killAndStart(_ name: String, _ stack: Stack) async throws {
            let program = try stack.program(name)
            program.signal(SIGKILL)
            _ = try await program.waitForExit(seconds: 10)
            try stack.startService(name)
        }

        /// Sends at full rate, calls `kill` in the middle of it as often as told, and compares.
        private func survive(_ kills: Int, seed: Int, _ kill: (Stack) async throws -> Void) async throws {
            let batches = max(ObservationPlan.usual.batches, (kills + 1) * Self.batchesPerKill)
            let plan = ObservationPlan(batches: batches)
            let step = batches / (kills + 1)
            let expected = try await ChaosRun.undisturbed(plan)
            try await ChaosRun.withStack(plan) { stack in
                let delivery = Delivery(plan, to: stack)
                async let sent: Void = delivery.send()
                var numbers = ChaosNumbers(seed: seed)
                for number in 0..<kills {
                    let moment = number * step + Int.random(in: 1...step, using: &numbers)
                    try await stack.eventually("\(moment) batches are acknowledged", seconds: 90) {
                        delivery.tally.acknowledged.count >= moment
                    }
                    // Not always right after an answer.
                    try await Task.sleep(for: .microseconds(Int.random(in: 0...60_000, using: &numbers)))
                    try await kill(stack)
                }
                try await sent
                let tally = delivery.tally
                #expect(tally.violations.isEmpty, "\(tally.violations.prefix(5))")
                #expect(tally.observations == plan.rows)
                // If no client noticed, nothing was in flight when it happened.
                #expect(tally.refusals.values.reduce(0, +) >= kills, "\(tally.refusals)")
                let evidence = Evidence(stack: stack, plan: plan)
                #expect(
                    try await evidence.difference()
                        == Evidence.Difference(missing: 0, unexpected: 0, logged: Int64(plan.rows)))
                #expect(try await evidence.answersApart() == 0)
                // As patient as with the undisturbed run, which works as much.
                #expect(try await evidence.settled(seconds: 600) == expected.graphs)
                print("\(kills) kills, refusals by status \(tally.refusals), answers given again: \(tally.replays)")
            }
        }
    }
}
