/// What the gateway remembers about API keys: a bounded map from id to a row, or to "there is none".
///
/// From ``refreshSeconds`` on an entry is confirmed again in the background, from ``freshSeconds`` on before it is used: a
/// revocation reaches this instance within that time and one look-up. While the database is away a known row stays
/// usable for ``staleSeconds`` from its last confirmation.
struct APIKeyCache: Sendable {
    static let refreshSeconds: Int64 = 2
    static let freshSeconds: Int64 = 4
    static let staleSeconds: Int64 = 300

    /// Rows remembered, and absences remembered, at most: each kind has its own room, so a flood of unknown ids cannot
    /// push out the keys of real callers.
    let capacity: Int
    private var rows: BoundedMap<String, APIKeyRecord>
    private var absences: BoundedMap<String, Bool>

    init(capacity: Int) {
        self.capacity = capacity
        self.rows = BoundedMap(capacity: capacity)
        self.absences = BoundedMap(capacity: capacity)
    }

    enum Answer: Hashable, Sendable {
        case row(APIKeyRecord)
        /// Use the row and ask the database meanwhile.
        case rowAndRefresh(APIKeyRecord)
        case absent
        /// Ask the database; the row may be used if it cannot answer.
        case askFallingBack(APIKeyRecord)
        case ask
    }

    /// - Parameter now: nanoseconds of a monotonic clock.
    func answer(id: String, now: Int64) -> Answer {
        if let (row, confirmedAt) = self.rows[id] {
            let seconds = (now - confirmedAt) / 1_000_000_000
            return switch seconds {
            case ..<Self.refreshSeconds: .row(row)
            case ..<Self.freshSeconds: .rowAndRefresh(row)
            case ..<Self.staleSeconds: .askFallingBack(row)
            default: .ask
            }
        }
        if let (_, confirmedAt) = self.absences[id], now - confirmedAt < Self.freshSeconds * 1_000_000_000 {
            return .absent
        }
        return .ask
    }

    /// Takes in what the database said at `now`.
    mutating func confirm(id: String, row: APIKeyRecord?, now: Int64) {
        if let row {
            self.absences.remove(id)
            self.rows.set(id, row, at: now)
        } else {
            self.rows.remove(id)
            self.absences.set(id, true, at: now)
        }
    }

    mutating func forget(id: String) {
        self.rows.remove(id)
        self.absences.remove(id)
    }

    var count: (rows: Int, absences: Int) { (self.rows.count, self.absences.count) }
}

/// A map that drops its oldest entry when it is full: two generations, so every operation costs O(1).
struct BoundedMap<Key: Hashable & Sendable, Value: Sendable>: Sendable {
    let capacity: Int
    private var young: [Key: (value: Value, at: Int64)] = [:]
    private var old: [Key: (value: Value, at: Int64)] = [:]

    init(capacity: Int) {
        precondition(capacity >= 2, "two generations need room for two")
        self.capacity = capacity
    }

    var count: Int { self.young.count + self.old.count }

    subscript(key: Key) -> (value: Value, at: Int64)? { self.young[key] ?? self.old[key] }

    mutating func set(_ key: Key, _ value: Value, at: Int64) {
        self.old.removeValue(forKey: key)
        self.young[key] = (value, at)
        guard self.young.count >= self.capacity / 2 else { return }
        self.old = self.young
        self.young = [:]
    }

    mutating func remove(_ key: Key) {
        self.young.removeValue(forKey: key)
        self.old.removeValue(forKey: key)
    }
}
