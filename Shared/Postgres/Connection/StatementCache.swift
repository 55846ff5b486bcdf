import OrderedCollections

/// Names of statements prepared on one connection: a bounded cache, oldest out first.
struct StatementCache {
    struct Key: Hashable {
        let text: String
        /// Object id per parameter, 0 where it was null when the statement was prepared.
        let types: [UInt32]
    }

    let limit: Int
    private var names: OrderedDictionary<Key, String> = [:]
    private var counter = 0

    init(limit: Int) { self.limit = limit }

    var count: Int { self.names.count }

    func name(for key: Key) -> String? { self.names[key] }

    /// A name no statement of this connection ever had.
    mutating func newName() -> String {
        self.counter += 1
        return "u\(self.counter)"
    }

    /// Remembers a statement the server has accepted.
    /// - Returns: the name of a statement to deallocate, when the cache was full.
    mutating func insert(_ key: Key, name: String) -> String? {
        guard self.limit > 0 else { return name }
        var dropped: String?
        if self.names.count >= self.limit, self.names[key] == nil {
            dropped = self.names.removeFirst().value
        }
        self.names[key] = name
        return dropped
    }

    /// Forgets all names without deallocating: after the server has said that it does not know one.
    mutating func removeAll() { self.names.removeAll() }
}
