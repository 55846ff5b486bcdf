import Synchronization

/// Counts requests being answered, and refuses beyond a limit: overload costs a fast refusal, not a slow timeout.
final class InFlight: Sendable {
    private let bound: Atomic<Int>
    private let value = Atomic<Int>(0)

    init(limit: Int) { self.bound = Atomic(limit) }

    var limit: Int { self.bound.load(ordering: .relaxed) }

    func set(limit: Int) { self.bound.store(limit, ordering: .relaxed) }

    var count: Int { self.value.load(ordering: .relaxed) }

    /// - Parameter share: the part of all places that this request may fill.
    /// - Returns: whether there was a place; it is then given back by one ``leave()``.
    func enter(share: Double = 1) -> Bool {
        let bound = share == 1 ? self.limit : Int((Double(self.limit) * share).rounded(.up))
        guard self.value.add(1, ordering: .relaxed).newValue <= bound else {
            self.value.subtract(1, ordering: .relaxed)
            return false
        }
        return true
    }

    func leave() { self.value.subtract(1, ordering: .relaxed) }
}
