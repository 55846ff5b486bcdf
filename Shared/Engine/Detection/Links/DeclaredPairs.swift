/// Pairs of events somebody declared to be connected, in either direction.
public struct DeclaredPairs: Sendable, Hashable, Codable {
    private var pairs: Set<Pair>

    private struct Pair: Sendable, Hashable, Codable {
        let first: String
        let second: String

        init(_ one: String, _ other: String) {
            let ascending = one.utf8.lexicographicallyPrecedes(other.utf8)
            self.first = ascending ? one : other
            self.second = ascending ? other : one
        }
    }

    /// - Parameter edges: caller and callee of each declared call.
    public init(_ edges: some Sequence<(String, String)> = []) {
        self.pairs = Set(edges.map { Pair($0.0, $0.1) })
    }

    public func contains(_ one: String, _ other: String) -> Bool { self.pairs.contains(Pair(one, other)) }
}
