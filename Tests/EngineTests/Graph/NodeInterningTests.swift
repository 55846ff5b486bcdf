import Model
import PlantedData
import Testing

@testable import Engine

@Suite("Nodes at the ends of edges as numbers")
struct NodeInterningTests {
    /// Names of all lengths around what is compared at once, alike at both ends, with bytes beyond ASCII, and of no letters.
    private static let names =
        ["", "a", "ab", "abc", "abcd", "abcde", "abcdefg", "abcdefgh", "abcdefghi", "b\u{301}", "Ünïcode", "日本", "a|b"]
        + (0..<40).map { "market-with-a-long-name-\($0)-and-the-same-end" }
        + (0..<40).map { "\($0)" + String(repeating: "x", count: $0) }

    @Test(
        "they are those of a set, in ascending order, and every edge leads to its own",
        arguments: [0, 1, 2, 40, 3_000])
    func numbers(edgeCount: Int) {
        var numbers = SeededNumbers(seed: UInt64(edgeCount))
        func name() -> String { Self.names[Int(numbers.bits() % UInt64(Self.names.count))] }
        func node() -> NodeKey { NodeKey(domain: name(), event: name(), market: name(), venue: name()) }
        let some = (0..<50).map { _ in node() }
        /// The same node, whose long names lie elsewhere.
        func anew(_ node: NodeKey) -> NodeKey {
            func copy(_ name: String) -> String { String(decoding: Array(name.utf8), as: UTF8.self) }
            return NodeKey(
                domain: copy(node.domain), event: copy(node.event), market: copy(node.market), venue: copy(node.venue))
        }
        let edges: [Edge] = (0..<edgeCount).map { place in
            let shared = some[place * 7 % 50]
            let (one, other) = (
                place % 5 < 2 ? anew(shared) : shared, place % 3 == 0 ? node() : some[place * 11 % 50]
            )
            var edge = TestGraph.edge(0, 1)
            (edge.source, edge.target) = (one, other)
            return edge
        }
        let interning = NodeInterning(edges: edges)
        #expect(interning.nodes == Set(edges.flatMap { [$0.source, $0.target] }).sorted())
        #expect(interning.ends.count == 2 * edgeCount)
        for (place, edge) in edges.enumerated() {
            #expect(interning.nodes[Int(interning.ends[2 * place])] == edge.source)
            #expect(interning.nodes[Int(interning.ends[2 * place + 1])] == edge.target)
        }
    }
}
