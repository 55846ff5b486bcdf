import Foundation

/// Waits until the owners have evaluated every bucket that is closed.
struct EvaluationWait {
    /// Without any progress for this long, waiting is given up.
    static let patienceSeconds = 120

    let client: GatewayClient

    private struct Domains: Decodable, Sendable {
        struct Item: Decodable, Sendable {
            var domain: String
            var pendingBuckets: Int
        }
        var items: [Item]
    }

    func run() async throws {
        var progress = ProgressLine()
        let clock = ContinuousClock()
        var least = Int.max
        var most = 1
        var movedAt = clock.now
        while true {
            let pending = try await self.client.get("/v1/domains", as: Domains.self).items
                .reduce(0) { $0 + $1.pendingBuckets }
            guard pending > 0 else { break }
            most = max(most, pending)
            if pending < least {
                least = pending
                movedAt = clock.now
            }
            guard movedAt.duration(to: clock.now) < .seconds(Self.patienceSeconds) else {
                throw ClientFailure.unusable("evaluation stands still with \(pending) buckets to do")
            }
            progress.show(fraction: 1 - Double(pending) / Double(most), text: "evaluating, \(pending) buckets to do")
            try await Task.sleep(for: .milliseconds(300))
        }
        progress.clear()
    }
}
