import Foundation
import Model

/// The series of a domain and, beside them, those of a partner's nodes, when both lie on the same clock: then every series
/// is made ready once and all layers are screened at once.
struct JoinedBlock {
    let block: SeriesBlock
    /// Rows of the evaluated domain.
    let own: [Int]

    /// Nil unless the partner's block has the shape, the clock and, of each asked node, the very values of the domain's own.
    ///
    /// - Parameter input: its blocks are in ascending order of nodes.
    init?(_ input: EvaluationInput, _ partner: PartnerBlock, events: Set<String>) {
        let (mine, theirs) = (input.block, partner.block)
        guard partner.shape == input.shape, mine.bucketMs == theirs.bucketMs, mine.windowEnd == theirs.windowEnd,
            mine.length == theirs.length, !mine.nodes.isEmpty
        else { return nil }
        var nodes: [NodeKey] = []
        var rows: [(isOwn: Bool, row: Int)] = []
        nodes.reserveCapacity(mine.nodes.count + theirs.nodes.count)
        rows.reserveCapacity(mine.nodes.count + theirs.nodes.count)
        var position = 0
        for row in theirs.nodes.indices {
            let node = theirs.nodes[row]
            while position < mine.nodes.count, mine.nodes[position] < node {
                nodes.append(mine.nodes[position])
                rows.append((true, position))
                position += 1
            }
            if node.domain != input.domain {
                nodes.append(node)
                rows.append((false, row))
                continue
            }
            guard events.contains(node.event) else { continue }
            guard position < mine.nodes.count, mine.nodes[position] == node, Self.isEqual(mine, position, theirs, row)
            else { return nil }
            nodes.append(node)
            rows.append((true, position))
            position += 1
        }
        while position < mine.nodes.count {
            nodes.append(mine.nodes[position])
            rows.append((true, position))
            position += 1
        }
        // An own node that the partner's block does not hold must not meet the partner.
        let asked = mine.nodes.count { events.contains($0.event) }
        guard asked == theirs.nodes.count(where: { $0.domain == input.domain && events.contains($0.event) }) else {
            return nil
        }
        var values: [Double] = []
        values.reserveCapacity(rows.count * mine.length)
        for (isOwn, row) in rows { values.append(contentsOf: (isOwn ? mine : theirs).row(row)) }
        self.block = SeriesBlock(
            nodes: nodes, bucketMs: mine.bucketMs, windowEnd: mine.windowEnd, length: mine.length, values: values)
        self.own = rows.indices.filter { rows[$0].isOwn }
    }

    /// Bit by bit, so that a missing value equals itself.
    private static func isEqual(_ left: SeriesBlock, _ leftRow: Int, _ right: SeriesBlock, _ rightRow: Int) -> Bool {
        let size = left.length * MemoryLayout<Double>.stride
        return left.values.withUnsafeBytes { first in
            right.values.withUnsafeBytes { second in
                guard let first = first.baseAddress, let second = second.baseAddress else { return true }
                return memcmp(first + leftRow * size, second + rightRow * size, size) == 0
            }
        }
    }
}
