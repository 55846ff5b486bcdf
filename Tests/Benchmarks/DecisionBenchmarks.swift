import Engine
import Model

/// The anomaly decision of one closed bucket over 200 edges: statistic against level, then episodes.
enum DecisionBenchmarks {
    static let benchmark = BenchmarkCase(name: "decisions", run: Self.run)
    static let edges = 200
    static let buckets = 600
    /// Edges that may pass their level; each is beyond it for five of every twelve buckets.
    static let restless = 12

    static func run() throws -> [Measurement] {
        print("decisions: 1 thread, float64, \(Self.edges) edges, \(Self.restless) of them in and out of episodes")
        let findings = Self.findings()
        let statistics = Self.statistics()
        try Self.check(statistics, findings: findings)
        var tracker = EpisodeTracker()
        var bucket = 0
        return [
            Measurement.time(
                "anomaly decision over 200 edges", repeats: Self.buckets, peer: ("decision in the system before", 24)
            ) {
                _ = Self.decide(statistics[bucket % Self.buckets], bucket: bucket, findings: findings, &tracker)
                bucket += 1
            }
        ]
    }

    /// By bucket and edge.
    static func statistics() -> [[Double]] {
        (0..<Self.buckets).map { bucket in
            (0..<Self.edges).map { Self.isBeyond(edge: $0, bucket: bucket) ? 5.0 + Double($0 % 7) : 1.5 }
        }
    }

    private static func isBeyond(edge: Int, bucket: Int) -> Bool {
        edge % (Self.edges / Self.restless) == 0 && (bucket + edge) % 12 < 5
    }

    /// Level compare over all edges, then one step of the episode machine.
    static func decide(
        _ statistics: [Double], bucket: Int, findings: [Finding], _ tracker: inout EpisodeTracker
    ) -> EpisodeChanges {
        var beyond: [Finding] = []
        for edge in statistics.indices where statistics[edge] > findings[edge].level {
            beyond.append(findings[edge])
        }
        return tracker.advance(to: Timestamp(milliseconds: Int64(bucket + 1) * 60_000), findings: beyond)
    }

    static func findings() -> [Finding] {
        (0..<Self.edges).map { edge in
            Finding(
                kind: .correlationBreak, event: "event-\(edge % 10)", node: PathBenchmarks.node(edge),
                target: PathBenchmarks.node(edge + 1), layer: .direct, windowEnd: Timestamp(milliseconds: 0),
                bucketMs: 60_000, statistic: 5, level: 3.85,
                values: ["baselineScore": 0.9, "recentScore": 0.1, "score": 0.9, "confidence": 0.95],
                reason: "correlation went from +0.90 to +0.10")
        }
    }

    /// The same decisions by the plainest state machine: successive buckets beyond and below of each edge.
    static func check(_ statistics: [[Double]], findings: [Finding]) throws {
        var tracker = EpisodeTracker()
        var beyond = [Int](repeating: 0, count: Self.edges)
        var below = [Int](repeating: 0, count: Self.edges)
        var isOpen = [Bool](repeating: false, count: Self.edges)
        for (bucket, row) in statistics.enumerated() {
            let changes = Self.decide(row, bucket: bucket, findings: findings, &tracker)
            var (opened, closed) = (0, 0)
            for edge in row.indices {
                let isBeyond = row[edge] > findings[edge].level
                beyond[edge] = isBeyond ? beyond[edge] + 1 : 0
                below[edge] = isBeyond ? 0 : below[edge] + 1
                if !isOpen[edge], beyond[edge] == 3 {
                    isOpen[edge] = true
                    opened += 1
                } else if isOpen[edge], below[edge] == 3 {
                    isOpen[edge] = false
                    closed += 1
                }
            }
            guard changes.opened.count == opened, changes.closed.count == closed else {
                throw WrongAnswer(description: "bucket \(bucket): episodes differ from the reference")
            }
        }
    }
}
