import Model

extension RootCauseNode {
    /// The order of declaration for nodes that come from a store: by the bytes of `event|market|venue`, then the domain. It
    /// settles ties the same way on every machine.
    public static func isDeclaredBefore(_ left: RootCauseNode, _ right: RootCauseNode) -> Bool {
        let first = Self.name(left.key)
        let second = Self.name(right.key)
        return first == second
            ? left.key.domain.utf8.lexicographicallyPrecedes(right.key.domain.utf8)
            : first.utf8.lexicographicallyPrecedes(second.utf8)
    }

    private static func name(_ key: NodeKey) -> String { "\(key.event)|\(key.market)|\(key.venue)" }
}
