import Model
import Synchronization

/// From the bytes of a node's four names to its number and shard, for every node this process has met.
///
/// Names are checked and hashed (SHA-256) once per node instead of once per observation. Open addressing over one arena, so a
/// look-up allocates nothing. Full tables are emptied: everything in them can be computed again.
final class NodeTable: Sendable {
    struct Node: Sendable {
        let id: Int64
        let shard: Int16
        /// Whether it is in the table `nodes`, committed.
        var isStored: Bool
    }

    fileprivate struct Storage {
        /// Index into `nodes` plus one; 0: free. The count is a power of two.
        var slots = [Int32](repeating: 0, count: 1_024)
        var hashes: [UInt64] = []
        var nodes: [Node] = []
        var starts: [Int] = [0]
        var arena: [UInt8] = []
    }

    /// Most nodes kept: about 150 bytes each.
    let limit: Int
    private let storage = Mutex(Storage())
    /// Differs per process, so that nobody can choose names that collide.
    private let seed = UInt64.random(in: .min ... .max)

    init(limit: Int = 1_000_000) { self.limit = limit }

    var count: Int { self.storage.withLock { $0.nodes.count } }

    /// The bytes a node is known by: its names joined by 0x1F, which no name may contain.
    static func keyBytes(_ key: NodeKey) -> [UInt8] {
        Array(key.domain.utf8) + [0x1F] + Array(key.event.utf8) + [0x1F] + Array(key.market.utf8) + [0x1F]
            + Array(key.venue.utf8)
    }

    func find(_ key: [UInt8]) -> Node? {
        let hash = self.hash(key)
        return self.storage.withLock { storage in
            storage.index(of: key, hash: hash).map { storage.nodes[$0] }
        }
    }

    /// Adds a node that was checked, or returns the one that came first.
    func insert(_ key: [UInt8], _ node: Node) -> Node {
        let hash = self.hash(key)
        return self.storage.withLock { storage in
            if let index = storage.index(of: key, hash: hash) { return storage.nodes[index] }
            if storage.nodes.count >= self.limit { storage = Storage() }
            storage.append(key, hash: hash, node)
            return node
        }
    }

    /// After the transaction that stored them has committed.
    func markStored(_ keys: [NodeKey]) {
        for key in keys {
            let bytes = Self.keyBytes(key)
            let hash = self.hash(bytes)
            self.storage.withLock { storage in
                if let index = storage.index(of: bytes, hash: hash) { storage.nodes[index].isStored = true }
            }
        }
    }

    /// Multiplies and folds eight bytes at a time.
    private func hash(_ bytes: [UInt8]) -> UInt64 {
        bytes.withUnsafeBytes { bytes in
            var hash = self.seed ^ UInt64(bytes.count)
            var offset = 0
            while offset + 8 <= bytes.count {
                hash = Self.mix(hash ^ bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
                offset += 8
            }
            var rest: UInt64 = 0
            while offset < bytes.count {
                rest = rest << 8 | UInt64(bytes[offset])
                offset += 1
            }
            return Self.mix(hash ^ rest)
        }
    }

    @inline(__always)
    private static func mix(_ value: UInt64) -> UInt64 {
        let (high, low) = value.multipliedFullWidth(by: 0x9E37_79B9_7F4A_7C15)
        return high ^ low
    }
}

extension NodeTable.Storage {
    fileprivate func index(of key: [UInt8], hash: UInt64) -> Int? {
        let mask = self.slots.count - 1
        var slot = Int(truncatingIfNeeded: hash) & mask
        while self.slots[slot] != 0 {
            let index = Int(self.slots[slot]) - 1
            if self.hashes[index] == hash, self.isEqual(index, key) { return index }
            slot = (slot + 1) & mask
        }
        return nil
    }

    private func isEqual(_ index: Int, _ key: [UInt8]) -> Bool {
        let (start, end) = (self.starts[index], self.starts[index + 1])
        guard end - start == key.count else { return false }
        return self.arena.withUnsafeBufferPointer { arena in
            UnsafeBufferPointer(rebasing: arena[start..<end]).elementsEqual(key)
        }
    }

    fileprivate mutating func append(_ key: [UInt8], hash: UInt64, _ node: NodeTable.Node) {
        if (self.nodes.count + 1) * 2 > self.slots.count { self.grow() }
        self.nodes.append(node)
        self.hashes.append(hash)
        self.arena.append(contentsOf: key)
        self.starts.append(self.arena.count)
        self.place(index: self.nodes.count - 1, hash: hash)
    }

    private mutating func grow() {
        self.slots = [Int32](repeating: 0, count: self.slots.count * 2)
        for index in self.nodes.indices { self.place(index: index, hash: self.hashes[index]) }
    }

    private mutating func place(index: Int, hash: UInt64) {
        let mask = self.slots.count - 1
        var slot = Int(truncatingIfNeeded: hash) & mask
        while self.slots[slot] != 0 { slot = (slot + 1) & mask }
        self.slots[slot] = Int32(index + 1)
    }
}
