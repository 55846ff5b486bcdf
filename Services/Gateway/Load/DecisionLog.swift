import Model
import Synchronization

/// Why the gateway did not let a request through, with what it compared.
struct Decision: Codable, Hashable, Sendable {
    let traceId: String
    let time: Timestamp
    let method: String
    /// Template of the route; `-` outside the table.
    let route: String
    let peer: String
    let caller: String
    let status: Int
    let code: String
    let detail: String
    /// What was compared: `limit.burst`, `scope.needed`, `inFlight.count` and the like.
    let compared: [String: String]
}

/// The latest refusals of this instance in bounded memory: callers and strangers have their own room, so a flood of made-up
/// keys does not push out what an administrator asks for.
struct DecisionRing: Sendable {
    let capacity: Int
    private var ring: [Decision] = []
    private var next = 0
    private var places: [String: Int] = [:]

    init(capacity: Int) {
        precondition(capacity > 0, "a ring needs room")
        self.capacity = capacity
    }

    var count: Int { self.ring.count }

    /// The latest of a trace.
    func find(_ traceId: String) -> Decision? { self.places[traceId].map { self.ring[$0] } }

    mutating func add(_ decision: Decision) {
        if self.ring.count < self.capacity {
            self.ring.append(decision)
        } else {
            let old = self.ring[self.next].traceId
            if self.places[old] == self.next { self.places[old] = nil }
            self.ring[self.next] = decision
        }
        self.places[decision.traceId] = self.next
        self.next = (self.next + 1) % self.capacity
    }
}

final class DecisionLog: Sendable {
    static let capacity = 4_096

    private let callers = Mutex(DecisionRing(capacity: DecisionLog.capacity))
    private let strangers = Mutex(DecisionRing(capacity: DecisionLog.capacity))

    func add(_ decision: Decision, isStranger: Bool) {
        if isStranger {
            self.strangers.withLock { $0.add(decision) }
        } else {
            self.callers.withLock { $0.add(decision) }
        }
    }

    func find(_ traceId: String) -> Decision? {
        self.callers.withLock { $0.find(traceId) } ?? self.strangers.withLock { $0.find(traceId) }
    }
}
