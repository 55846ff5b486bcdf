import Synchronization

/// Counts requests being answered, and refuses beyond a limit: overload costs a fast refusal, not a slow timeout.
final class InFlight: Sendable {
    private let limit: Int
    private let value = Atomic<Int>(0)

    init(limit: Int) { self.limit = limit }

    var count: Int { self.value.load(ordering: .relaxed) }

    /// - Returns: whether there was a place; it is then given back by one ``leave()``.
    func enter() -> Bool {
        guard self.value.add(1, ordering: .relaxed).newValue <= self.limit else {
            self.value.subtract(1, ordering: .relaxed)
            return false
        }
        return true
    }

    func leave() { self.value.subtract(1, ordering: .relaxed) }
}
