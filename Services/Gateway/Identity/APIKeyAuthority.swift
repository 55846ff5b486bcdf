import Model
import Synchronization

/// Where API keys are looked up.
protocol APIKeyLookup: Sendable {
    /// - Returns: nil when there is no such key.
    func find(id: String) async throws -> APIKeyRecord?
}

/// Decides who presents an API key, out of the cache wherever that is allowed.
///
/// The database sees at most one look-up at a time per key, ``concurrentLookups`` in all, and for ids it has never
/// confirmed at most ``unknownLookups`` a second: whoever sends made-up keys is refused from memory.
final class APIKeyAuthority: Sendable {
    static let concurrentLookups = 64
    static let unknownLookups = GCRA(burst: 500, refillPerSecond: 100)
    /// After a failed look-up known keys are not confirmed again for this time.
    static let pauseNanoseconds: Int64 = 1_000_000_000

    private struct State {
        var cache: APIKeyCache
        var running: [String: Task<APIKeyRecord?, any Error>] = [:]
        var unknownArrival = Int64.min
        var pausedUntil = Int64.min
    }

    private let lookup: any APIKeyLookup
    private let state: Mutex<State>
    private let now: @Sendable () -> Int64

    /// - Parameter now: nanoseconds of a monotonic clock.
    init(
        lookup: any APIKeyLookup, capacity: Int = 20_000,
        now: @escaping @Sendable () -> Int64 = { MonotonicClock.nanoseconds() }
    ) {
        self.lookup = lookup
        self.state = Mutex(State(cache: APIKeyCache(capacity: capacity)))
        self.now = now
    }

    /// Whether ``caller(presenting:wallClock:)`` would have to ask the database about an id it knows nothing of.
    func isUnknown(_ key: APIKeyText) -> Bool {
        let now = self.now()
        return self.state.withLock { state in
            switch state.cache.answer(id: key.id, now: now) {
            case .ask, .absent: true
            case .row, .rowAndRefresh, .askFallingBack: false
            }
        }
    }

    /// The verdict on `key` when memory has it; nil: ``caller(presenting:wallClock:)`` must ask the database.
    func remembered(_ key: APIKeyText, wallClock: Timestamp) -> Result<Caller, Problem>? {
        let now = self.now()
        let (answer, isPaused) = self.state.withLock { ($0.cache.answer(id: key.id, now: now), now < $0.pausedUntil) }
        let row: APIKeyRecord
        switch answer {
        case .row(let known): row = known
        case .rowAndRefresh(let known):
            if !isPaused { _ = self.task(id: key.id, now: now) }
            row = known
        case .askFallingBack(let known):
            guard isPaused else { return nil }
            row = known
        case .absent: return .failure(APIKeyRecord.unknown)
        case .ask: return nil
        }
        do throws(Problem) {
            return .success(try row.caller(presenting: key, now: wallClock))
        } catch {
            return .failure(error)
        }
    }

    /// - Throws: 401 for a key that is not valid, 503 when that cannot be found out now.
    func caller(presenting key: APIKeyText, wallClock: Timestamp) async throws(Problem) -> Caller {
        guard let row = try await self.row(id: key.id) else { throw APIKeyRecord.unknown }
        return try row.caller(presenting: key, now: wallClock)
    }

    /// Drops what is remembered: for the instance that has just changed the key itself.
    func forget(id: String) { self.state.withLock { $0.cache.forget(id: id) } }

    private func row(id: String) async throws(Problem) -> APIKeyRecord? {
        let now = self.now()
        let (answer, isPaused) = self.state.withLock { ($0.cache.answer(id: id, now: now), now < $0.pausedUntil) }
        switch answer {
        case .row(let row):
            return row
        case .absent:
            return nil
        case .rowAndRefresh(let row):
            if !isPaused { _ = self.task(id: id, now: now) }
            return row
        case .askFallingBack(let row):
            guard !isPaused, let task = self.task(id: id, now: now) else { return row }
            guard case .success(let confirmed) = await task.result else { return row }
            return confirmed
        case .ask:
            guard let task = self.task(id: id, now: now, isUnknown: true), case .success(let row) = await task.result
            else {
                throw Problem(
                    .unavailable, detail: "API keys that are new to this instance cannot be checked at the moment.",
                    retryAfter: 1)
            }
            return row
        }
    }

    /// The running look-up of `id`, or a new one; nil when too many run or were begun.
    private func task(id: String, now: Int64, isUnknown: Bool = false) -> Task<APIKeyRecord?, any Error>? {
        self.state.withLock { state in
            if let running = state.running[id] { return running }
            // A look-up that ended since the cache was asked has the answer.
            if isUnknown, case .row(let row) = state.cache.answer(id: id, now: now) { return Task { row } }
            guard state.running.count < Self.concurrentLookups,
                !isUnknown || Self.unknownLookups.admit(&state.unknownArrival, now: now).isAdmitted
            else { return nil }
            let task = Task { try await self.ask(id: id) }
            state.running[id] = task
            return task
        }
    }

    private func ask(id: String) async throws -> APIKeyRecord? {
        do {
            let row = try await self.lookup.find(id: id)
            let now = self.now()
            self.state.withLock { state in
                state.running[id] = nil
                state.cache.confirm(id: id, row: row, now: now)
            }
            return row
        } catch {
            let until = self.now() + Self.pauseNanoseconds
            self.state.withLock { state in
                state.running[id] = nil
                state.pausedUntil = until
            }
            throw error
        }
    }
}
