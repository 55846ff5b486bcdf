/// Names of statements prepared on one connection: a bounded cache; the one unused for longest goes first.
struct StatementCache {
    struct Key: Hashable {
        let text: String
        /// Object id per parameter, 0 where it was null when the statement was prepared.
        let types: [UInt32]
    }

    private struct Entry {
        let name: String
        var lastUse: UInt64
    }

    let limit: Int
    private var entries: [Key: Entry] = [:]
    private var clock: UInt64 = 0
    private var counter = 0

    init(limit: Int) { self.limit = limit }

    var count: Int { self.entries.count }

    /// The name of a statement known to the server; it counts as used now.
    mutating func name(for key: Key) -> String? {
        guard let index = self.entries.index(forKey: key) else { return nil }
        self.clock += 1
        self.entries.values[index].lastUse = self.clock
        return self.entries.values[index].name
    }

    /// A name no statement of this connection ever had.
    mutating func newName() -> String {
        self.counter += 1
        return "u\(self.counter)"
    }

    /// Remembers a statement the server has accepted.
    /// - Returns: the name of a statement to deallocate, when the cache was full.
    mutating func insert(_ key: Key, name: String) -> String? {
        guard self.limit > 0 else { return name }
        self.clock += 1
        var dropped: String?
        // A look at all of them is cheap beside the round trip that preparing cost.
        if self.entries.count >= self.limit, self.entries[key] == nil,
            let oldest = self.entries.min(by: { $0.value.lastUse < $1.value.lastUse })
        {
            self.entries[oldest.key] = nil
            dropped = oldest.value.name
        }
        self.entries[key] = Entry(name: name, lastUse: self.clock)
        return dropped
    }

    /// Forgets one statement: after the server has said that it does not know it or that its plan is stale.
    /// - Returns: its name, to deallocate.
    mutating func remove(_ key: Key) -> String? { self.entries.removeValue(forKey: key)?.name }

    /// Forgets all names without deallocating: after the server has forgotten them.
    mutating func removeAll() { self.entries.removeAll() }
}
