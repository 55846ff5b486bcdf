import Foundation

/// Waits until the owners have evaluated every bucket that is closed, and anomalies and forecasts have been made of that.
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

    private struct Forecasts: Decodable, Sendable {
        struct Summary: Decodable, Sendable {
            var unreadRevisions: Int
        }
        var summary: Summary
    }

    func run() async throws {
        try await self.wait(for: "evaluating", unit: "buckets") {
            try await self.client.get("/v1/domains", as: Domains.self).items.reduce(0) { $0 + $1.pendingBuckets }
        }
        try await self.wait(for: "finding anomalies", unit: "revisions") {
            try await self.client.get("/v1/forecasts?limit=1", as: Forecasts.self).summary.unreadRevisions
        }
    }

    private func wait(for activity: String, unit: String, pending: () async throws -> Int) async throws {
        var progress = ProgressLine()
        let clock = ContinuousClock()
        var least = Int.max
        var most = 1
        var movedAt = clock.now
        while true {
            let count = try await pending()
            guard count > 0 else { break }
            most = max(most, count)
            if count < least {
                least = count
                movedAt = clock.now
            }
            guard movedAt.duration(to: clock.now) < .seconds(Self.patienceSeconds) else {
                throw ClientFailure.unusable("\(activity) stands still with \(count) \(unit) to do")
            }
            progress.show(
                fraction: 1 - Double(count) / Double(most), text: "\(activity), \(count) \(unit) to do")
            try await Task.sleep(for: .milliseconds(300))
        }
        progress.clear()
    }
}
