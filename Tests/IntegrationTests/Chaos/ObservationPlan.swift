import Foundation
import Model

/// Observations that can be made again from their number alone: what was sent is known without having been kept.
///
/// Two domains of different bucket widths, three events each, two quantities on two venues; most of every value is common
/// to all, so that all four layers have edges.
struct ObservationPlan: Hashable, Sendable {
    static let rowsPerBatch = 600
    static let stepMs: Int64 = 500
    /// Midnight, so that a day of data lies in one partition.
    static let originMs: Int64 = 1_709_251_200_000
    static let bucketMs: [String: Int64] = ["fast": 10_000, "slow": 20_000]
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

    /// For tests that need no more, so that one undisturbed run serves them all.
    static let usual = ObservationPlan(batches: 200)

    var batches: Int
    /// How late data may come and still be in time.
    var latenessMs: Int64 = 20_000

    var rows: Int { self.batches * Self.rowsPerBatch }
    var events: Int { Set(Self.nodes.map(\.event)).count }

    /// The profile of a domain, as it is declared.
    func profile(_ domain: String) -> String {
        """
        {"domain":"\(domain)","bucketMs":\(Self.bucketMs[domain] ?? 0),"presentBuckets":30,"baselineBuckets":60,
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
        // The same for all nodes for four seconds; the rest is each one's own.
        let common = Self.noise(UInt64(step / 8) << 8 | 0xFF)
        let own = Self.noise(UInt64(step) << 8 | UInt64(node))
        return Observation(
            node: Self.nodes[node],
            time: Timestamp(milliseconds: Self.originMs + Int64(step) * Self.stepMs + Int64(node) * 7),
            value: common + 0.3 * own)
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
