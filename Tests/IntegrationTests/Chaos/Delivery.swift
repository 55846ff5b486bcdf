import Foundation
import Model
import Synchronization
import TestSupport

/// Clients that send a plan's batches as a careful client does: each under an Idempotency-Key, again and again until it is
/// acknowledged. Keeps what was answered.
final class Delivery: Sendable {
    struct Options: Sendable {
        var inFlight = 8
        /// How far the batches being sent may be apart; nil: any. With a bound, data come nearly in order.
        var window: Int?
        /// Between two batches of one sender; zero is full rate.
        var pause = Duration.zero
        /// The fewer batches are left the longer the pauses, until ``finish()``: some are under way however long a trial takes.
        var lasts = false
        /// Longest time one batch may take, all attempts together.
        var patience = Duration.seconds(120)
    }

    /// What the senders met so far.
    struct Tally: Sendable {
        var acknowledged: Set<Int> = []
        var observations = 0
        /// Answers other than 200 by status; 0: none came.
        var refusals: [Int: Int] = [:]
        var replays = 0
        /// What no client should ever see.
        var violations: [String] = []
    }

    private struct State {
        var waiting: [Int]
        var isFinishing = false
        var tally = Tally()
    }

    /// What a client that may try again can be told: in flight, too many, trouble that passes.
    private static let temporary: Set<Int> = [409, 429, 502, 503, 504]

    private let stack: Stack
    private let plan: ObservationPlan
    private let options: Options
    private let run = UUID().uuidString
    private let state: Mutex<State>

    init(_ plan: ObservationPlan, batches: [Int]? = nil, to stack: Stack, _ options: Options = Options()) {
        self.stack = stack
        self.plan = plan
        self.options = options
        self.state = Mutex(State(waiting: Array((batches ?? Array(0..<plan.batches)).reversed())))
    }

    var tally: Tally { self.state.withLock { $0.tally } }

    /// Sends until everything is acknowledged.
    func send() async throws {
        let key = try await self.stack.key(scopes: Stack.allScopes)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<self.options.inFlight {
                group.addTask {
                    while let batch = try await self.next() {
                        try await self.deliver(batch, key: key)
                        try await self.rest()
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    /// From now on without pauses.
    /// - Returns: whether anything was left to send.
    @discardableResult
    func finish() -> Bool {
        self.state.withLock { state in
            state.isFinishing = true
            return state.tally.acknowledged.count < self.plan.batches
        }
    }

    private func rest() async throws {
        let begin = ContinuousClock.now
        while true {
            let pause: Duration = self.state.withLock { state in
                guard !state.isFinishing else { return .zero }
                let stretch = Double(self.plan.batches) / Double(max(1, state.waiting.count))
                return self.options.lasts ? self.options.pause * stretch : self.options.pause
            }
            let left = pause - begin.duration(to: .now)
            guard left > .zero else { return }
            try await Task.sleep(for: min(left, .milliseconds(100)))
        }
    }

    private func next() async throws -> Int? {
        while true {
            let (batch, isDone) = self.state.withLock { state -> (Int?, Bool) in
                guard let batch = state.waiting.last else { return (nil, true) }
                if let window = self.options.window, batch - self.oldestOpen(state) >= window { return (nil, false) }
                state.waiting.removeLast()
                return (batch, false)
            }
            if batch != nil || isDone { return batch }
            try await Task.sleep(for: .milliseconds(5))
        }
    }

    private func oldestOpen(_ state: State) -> Int {
        (0..<self.plan.batches).first { !state.tally.acknowledged.contains($0) } ?? self.plan.batches
    }

    private func deliver(_ batch: Int, key: String) async throws {
        let body = self.plan.body(batch)
        let deadline = ContinuousClock.now + self.options.patience
        var last = ""
        while ContinuousClock.now < deadline {
            let reply: Reply
            do {
                reply = try await self.stack.call(
                    "POST", "/v1/observations", key: key,
                    headers: [
                        ("Content-Type", "application/x-ndjson"), ("Idempotency-Key", "\(self.run)-\(batch)"),
                    ], body: body)
            } catch {
                self.state.withLock { $0.tally.refusals[0, default: 0] += 1 }
                last = String(describing: error)
                try await Task.sleep(for: .milliseconds(100))
                continue
            }
            if reply.status == 200 { return try self.acknowledged(batch, reply) }
            self.refused(batch, reply)
            last = "\(reply.status) \(reply.text.prefix(300))"
            // A client waits as long as it is told; the tests have less time.
            try await Task.sleep(for: .milliseconds(100))
        }
        throw RunningProgram.Failure(
            description: "batch \(batch) not acknowledged in \(self.options.patience), at last: \(last)")
    }

    private func acknowledged(_ batch: Int, _ reply: Reply) throws {
        let receipt = try reply.json(Receipt.self)
        self.state.withLock { state in
            state.tally.acknowledged.insert(batch)
            state.tally.observations += receipt.accepted
            if reply.header("idempotency-replayed") == "true" { state.tally.replays += 1 }
            // An attempt whose answer was lost counts: its answer is given again, as it was.
            if receipt.accepted != ObservationPlan.rowsPerBatch || receipt.duplicates > 0 || receipt.rejected > 0 {
                state.tally.violations.append("batch \(batch): \(reply.text.prefix(200))")
            }
        }
    }

    private func refused(_ batch: Int, _ reply: Reply) {
        self.state.withLock { state in
            state.tally.refusals[reply.status, default: 0] += 1
            let saysWhen = reply.header("retry-after") != nil && reply.problem?.retryAfter != nil
            if !Self.temporary.contains(reply.status) || (reply.status == 503 && !saysWhen) {
                state.tally.violations.append("batch \(batch): \(reply.status) \(reply.text.prefix(300))")
            }
        }
    }
}
