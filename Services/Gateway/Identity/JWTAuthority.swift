import Crypto
import Foundation
import Logging
import Model
import ServiceLifecycle
import Synchronization

/// Where the keys of tokens come from.
struct KeySource: Sendable {
    /// How often they are read again without being asked for.
    let interval: Duration
    /// Keys that could not be read again for longer than this are no longer believed; nil: always.
    let staleAfter: Duration?
    /// False: without keys the gateway does not start.
    let mayBeginEmpty: Bool
    let read: @Sendable () async throws(KeySetError) -> [UInt8]

    static func file(_ path: String) -> KeySource {
        KeySource(interval: .seconds(2), staleAfter: nil, mayBeginEmpty: false) { () throws(KeySetError) in
            guard let data = FileManager.default.contents(atPath: path) else { throw KeySetError("cannot be read") }
            return Array(data)
        }
    }
}

/// Decides who presents a JWT: with keys that are read again in the background and when a token names an unknown one; the
/// last good ones are kept while the source is away.
final class JWTAuthority: Sendable {
    /// Verified tokens remembered, so that a signature is checked once and not with every request.
    static let cacheCapacity = 10_000

    /// What reading the keys again came to.
    enum Reload: Hashable, Sendable { case changed, same, failed }

    private struct State {
        var keys: KeySet?
        var contents: [UInt8]
        /// Counts the key sets, so that a verdict under an old one is not kept under its successor.
        var generation = 0
        var verified = BoundedMap<TokenDigest, JWTRules.Believed>(capacity: JWTAuthority.cacheCapacity)
        var readAt: Int64
        var refresh = KeyRefresh()
        var running: Task<Reload, Never>?
    }

    private let source: KeySource
    private let rules: JWTRules
    private let state: Mutex<State>
    private let logger: Logger

    /// - Throws: ``KeySetError`` when the file cannot be used: the gateway does not start with keys it cannot read.
    convenience init(path: String, rules: JWTRules, logger: Logger) async throws(KeySetError) {
        try await self.init(source: .file(path), rules: rules, logger: logger)
    }

    init(source: KeySource, rules: JWTRules, logger: Logger) async throws(KeySetError) {
        var contents: [UInt8] = []
        var keys: KeySet?
        do throws(KeySetError) {
            contents = try await source.read()
            keys = try await KeySet(json: contents)
        } catch {
            guard source.mayBeginEmpty else { throw error }
            contents = []
            logger.error("JWKS not read yet, tokens are refused until they are", metadata: ["reason": "\(error)"])
        }
        self.source = source
        self.rules = rules
        self.logger = logger
        self.state = Mutex(State(keys: keys, contents: contents, readAt: MonotonicClock.nanoseconds()))
    }

    /// - Parameter wallClock: decides about `exp` and `nbf`.
    func caller(presenting token: String, wallClock: Timestamp) throws(Problem) -> Caller {
        let seconds = Double(wallClock.milliseconds) / 1_000
        guard token.utf8.count <= JWTRules.lengthLimit else { throw JWTRules.refused("is too long") }
        let digest = TokenDigest(token)
        let (keys, generation, known) = self.state.withLock { ($0.keys, $0.generation, $0.verified[digest]?.value) }
        if let known, self.isFresh { return try known.caller(now: seconds) }
        let parts = try JWTRules.parts(token)
        guard let keys, self.isFresh else { throw Self.unreadable }
        guard keys.verifies(parts) else { throw JWTRules.refused("is not signed by a known key") }
        let believed = try self.rules.believe(parts.claims)
        let caller = try believed.caller(now: seconds)
        self.state.withLock { state in
            if state.generation == generation { state.verified.set(digest, believed, at: 0) }
        }
        return caller
    }

    /// The caller of a token whose signature has been checked before; nil when it has not.
    func remembered(_ digest: TokenDigest, wallClock: Timestamp) -> Result<Caller, Problem>? {
        guard let known = self.state.withLock({ $0.verified[digest]?.value }), self.isFresh else { return nil }
        do throws(Problem) {
            return .success(try known.caller(now: Double(wallClock.milliseconds) / 1_000))
        } catch {
            return .failure(error)
        }
    }

    private static let unreadable = Problem(
        .unavailable, detail: "The keys of tokens cannot be read at the moment.", retryAfter: 2)

    private static func undecided(waitNanoseconds: Int64) -> Problem {
        Problem(
            .unavailable, detail: "The token names a key that is not known yet.",
            retryAfter: (Double(waitNanoseconds) / 1e6).rounded(.up) / 1_000)
    }

    private var isFresh: Bool {
        guard let limit = self.source.staleAfter else { return true }
        let age = MonotonicClock.nanoseconds() - self.state.withLock { $0.readAt }
        return age < limit.components.seconds * 1_000_000_000
    }

    /// Whether `token` is well formed and names a key that is not known.
    func namesUnknownKey(_ token: String) throws(Problem) -> Bool {
        let keyID = try JWTRules.parts(token).keyID
        return self.state.withLock { $0.keys.map { !$0.has(keyID) } ?? true }
    }

    /// Reads the keys again if that may help, once for all who ask at the same time.
    func callerAfterRefresh(presenting token: String, wallClock: Timestamp) async throws(Problem) -> Caller {
        let keyID = try JWTRules.parts(token).keyID
        let begin = MonotonicClock.nanoseconds()
        let (task, verdict) = self.state.withLock { state -> (Task<Reload, Never>?, KeyRefresh.Verdict) in
            // Someone else's fetch may have ended in between.
            if state.keys?.has(keyID) == true { return (nil, .fetch) }
            if let running = state.running { return (running, .fetch) }
            let verdict = state.refresh.verdict(keyID: keyID, now: begin)
            guard verdict == .fetch else { return (nil, verdict) }
            let task = Task { await self.reload() }
            state.running = task
            return (task, verdict)
        }
        switch verdict {
        case .absent: throw JWTRules.refused("is not signed by a known key")
        case .wait(let nanoseconds):
            throw Self.undecided(waitNanoseconds: nanoseconds)
        case .fetch: break
        }
        let outcome = await task?.value
        let now = MonotonicClock.nanoseconds()
        let wait = self.state.withLock { state -> Int64? in
            if state.running == task { state.running = nil }
            guard state.keys?.has(keyID) == false else { return nil }
            // Only a set that was read says that a key is not in it.
            if outcome == .failed { return state.refresh.waitNanoseconds(now: now) }
            state.refresh.isAbsent(keyID, now: now)
            return nil
        }
        if let wait { throw Self.undecided(waitNanoseconds: wait) }
        return try self.caller(presenting: token, wallClock: wallClock)
    }

    var keyIDs: [String] { self.state.withLock { $0.keys?.ids ?? [] } }

    /// Reads the keys again; the last good ones stay when that fails.
    @discardableResult
    func reload() async -> Reload {
        do {
            let contents = try await self.source.read()
            let isSame = self.state.withLock { state in
                guard contents == state.contents else { return false }
                state.readAt = MonotonicClock.nanoseconds()
                return true
            }
            guard !isSame else { return .same }
            let keys = try await KeySet(json: contents)
            self.state.withLock { state in
                state.keys = keys
                state.contents = contents
                state.generation += 1
                state.verified = BoundedMap(capacity: Self.cacheCapacity)
                state.readAt = MonotonicClock.nanoseconds()
            }
            self.logger.info("JWKS reloaded", metadata: ["kids": "\(keys.ids.count)"])
            return .changed
        } catch {
            self.logger.warning("JWKS not reloaded, the last good keys stay", metadata: ["reason": "\(error)"])
            return .failed
        }
    }
}

extension JWTAuthority: Service {
    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do { try await Task.sleep(for: self.source.interval) } catch { return }
                await self.reload()
            }
        }
    }
}

/// SHA-256 of a token: what is remembered instead of the token itself.
struct TokenDigest: Hashable, Sendable {
    private let words: (UInt64, UInt64, UInt64, UInt64)

    init(_ token: String) {
        var token = token
        let digest = token.withUTF8 { SHA256.hash(data: UnsafeRawBufferPointer($0)) }
        self.words = digest.withUnsafeBytes { bytes in
            (
                bytes.loadUnaligned(fromByteOffset: 0, as: UInt64.self),
                bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self),
                bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self),
                bytes.loadUnaligned(fromByteOffset: 24, as: UInt64.self)
            )
        }
    }

    static func == (left: TokenDigest, right: TokenDigest) -> Bool { left.words == right.words }

    func hash(into hasher: inout Hasher) {
        // The bits of a digest are as good as random: eight of its bytes are enough to find it.
        hasher.combine(self.words.0)
    }
}
