import Foundation
import Model

/// Observations that can be made again from their number alone: what was sent is known without having been kept.
///
/// Two domains of different bucket widths, three events each, two quantities on two venues; most of every value is common
/// to all, so that all four layers have edges. Venue `there` follows a bucket later, after jumps too, which makes forecasts, and
/// parts from `here` for a while, which makes anomalies.
struct ObservationPlan: Hashable, Sendable {
    static let rowsPerBatch = 600
    static let stepMs: Int64 = 500
    /// Midnight, so that a day of data lies in one partition.
    static let originMs: Int64 = 1_709_251_200_000
    static let bucketMs: [String: Int64] = ["fast": 5_000, "slow": 10_000]
    static let nodes: [NodeKey] = {
        var nodes: [NodeKey] = []
        for domain in Self.bucketMs.keys.sorted() {
            for event in ["one", "two", "three"] {
                for market in ["price", "load"] {
                    for venue in ["here", "there"] {
                        nodes.append(NodeKey(domain: domain, event: "\(domain)-\(event)", market: market, venue: venue))
                    }
                }
            }
        }
        return nodes
    }()

    /// For tests that need no more, so that one undisturbed run serves them all. Its data may come late, so that buckets are
    /// evaluated again and graphs are the same in the end; what was found out meanwhile need not be.
    static let usual = ObservationPlan(batches: 200)

    /// Batches that are sent at the same time are at most this far apart, so that none comes late by ``inOrderMs``.
    static let window = 8
    static let inOrderMs: Int64 = 120_000
    /// Every bucket is evaluated when it closes: all that is concluded must be the same, too.
    static func inOrder(batches: Int) -> ObservationPlan {
        ObservationPlan(batches: batches, latenessMs: Self.inOrderMs)
    }
    var isInOrder: Bool { self.latenessMs >= Self.inOrderMs }

    var batches: Int
    /// How late data may come and still be in time.
    var latenessMs: Int64 = 20_000

    var rows: Int { self.batches * Self.rowsPerBatch }
    var events: Int { Set(Self.nodes.map(\.event)).count }

    /// The profile of a domain, as it is declared.
    func profile(_ domain: String) -> String {
        """
        {"domain":"\(domain)","bucketMs":\(Self.bucketMs[domain] ?? 0),"presentBuckets":30,"baselineBuckets":90,
         "lagBuckets":1,"periodMs":0,"allowedLatenessMs":\(self.latenessMs)}
        """
    }

    /// End of the last bucket of a domain that all of the observations close.
    func lastEnd(_ domain: String) -> Int64 {
        let width = Self.bucketMs[domain] ?? 1
        let newest =
            (self.rows - Self.nodes.count..<self.rows).lazy.map(Self.observation)
            .filter { $0.node.domain == domain }.map(\.time.milliseconds).max() ?? 0
        return (newest - self.latenessMs) / width * width
    }

    static func observation(_ index: Int) -> Observation {
        let (step, node) = (index / Self.nodes.count, index % Self.nodes.count)
        let key = Self.nodes[node]
        let bucketSteps = Int((Self.bucketMs[key.domain] ?? 0) / Self.stepMs)
        let isApart = key.venue == "there" && key.market == "load" && (2_400..<3_000).contains(step % 4_000)
        // The same for all nodes for five seconds; the rest is each one's own.
        let common = isApart ? 0 : Self.common(step - (key.venue == "there" ? bucketSteps : 0))
        let own = Self.noise(UInt64(step) << 8 | UInt64(node))
        return Observation(
            node: key, time: Timestamp(milliseconds: Self.originMs + Int64(step) * Self.stepMs + Int64(node) * 7),
            value: common + (isApart ? 1 : 0.3) * own)
    }

    /// What moves all nodes, with a jump now and then.
    private static func common(_ step: Int) -> Double {
        let part = max(0, step) / 10
        let usual = Self.noise(UInt64(part) << 8 | 0xFF)
        return part % 34 < 2 ? (usual < 0 ? -6 : 6) + usual : usual
    }

    /// The body of a batch.
    func body(_ batch: Int) -> Data {
        var text = ""
        for index in batch * Self.rowsPerBatch..<(batch + 1) * Self.rowsPerBatch {
            let observation = Self.observation(index)
            let node = observation.node
            text += Stack.line(
                domain: node.domain, event: node.event, market: node.market, venue: node.venue,
                time: observation.time.milliseconds, value: observation.value)
            text += "\n"
        }
        return Data(text.utf8)
    }

    /// -1 ..< 1.
    private static func noise(_ seed: UInt64) -> Double {
        var numbers = ChaosNumbers(seed: Int(truncatingIfNeeded: seed))
        return Double(Int64(bitPattern: numbers.next()) >> 11) / 4_503_599_627_370_496
    }
}
