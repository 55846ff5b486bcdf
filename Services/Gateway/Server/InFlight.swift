import Foundation
import NIOCore
import Synchronization

/// Counts requests being answered, and refuses beyond a limit: overload costs a fast refusal, not a slow timeout.
final class InFlight: Sendable {
    private let limit: Int
    private let counter = Counter()

    fileprivate final class Counter: Sendable {
        let value = Atomic<Int>(0)
    }

    /// A place among them; free again when the last reference goes, whichever way a request ends.
    final class Slot: Sendable {
        private let counter: Counter
        fileprivate init(_ counter: Counter) { self.counter = counter }
        deinit { self.counter.value.subtract(1, ordering: .relaxed) }
    }

    init(limit: Int) { self.limit = limit }

    var count: Int { self.counter.value.load(ordering: .relaxed) }

    func take() -> Slot? {
        guard self.counter.value.add(1, ordering: .relaxed).newValue <= self.limit else {
            self.counter.value.subtract(1, ordering: .relaxed)
            return nil
        }
        return Slot(self.counter)
    }
}

enum WallClock {
    static func milliseconds() -> Int64 { Int64((Date().timeIntervalSince1970 * 1_000).rounded(.down)) }
}

extension Channel {
    /// Whether this is a stream of an HTTP/2 connection rather than a connection.
    var isStream: Bool { self.parent?.parent != nil }
}
