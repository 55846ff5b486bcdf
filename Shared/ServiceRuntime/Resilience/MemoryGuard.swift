/// What a service does about its memory, by how much of the ceiling is in use: first caches shrink, then building stops, and both
/// end by themselves. A value that is told what is in use.
public struct MemoryGuard: Hashable, Sendable {
    public enum Level: Int, Hashable, Sendable, Comparable {
        case normal = 0
        /// Caches are emptied and freed memory is given back.
        case shrinking = 1
        /// Nothing new is built until there is room again.
        case shedding = 2

        public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
    }

    /// Shares of the ceiling. What begins at one share ends at a lower one, so that it does not flicker.
    static let shrinksAt = 0.85
    static let shrinksUntil = 0.80
    static let shedsAt = 0.95
    static let shedsUntil = 0.90

    public var ceilingBytes: Int
    public private(set) var level = Level.normal
    public private(set) var residentBytes = 0

    public init(ceilingBytes: Int) { self.ceilingBytes = ceilingBytes }

    @discardableResult
    public mutating func observe(residentBytes: Int) -> Level {
        self.residentBytes = residentBytes
        let share = Double(residentBytes) / Double(max(1, self.ceilingBytes))
        if share >= Self.shedsAt || (self.level == .shedding && share >= Self.shedsUntil) {
            self.level = .shedding
        } else if share >= Self.shrinksAt || (self.level > .normal && share >= Self.shrinksUntil) {
            self.level = .shrinking
        } else {
            self.level = .normal
        }
        return self.level
    }
}
