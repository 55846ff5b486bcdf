import Crypto
import Foundation
import Logging
import Model
import ServiceLifecycle
import Synchronization

/// Decides who presents a JWT: with the keys of a file that is read again when it changes, the last good ones kept.
final class JWTAuthority: Sendable {
    /// The file is looked at this often.
    static let pollInterval = Duration.seconds(2)
    /// Verified tokens remembered, so that a signature is checked once and not with every request.
    static let cacheCapacity = 10_000

    private struct State {
        var keys: KeySet
        var contents: [UInt8]
        /// Counts the key sets, so that a verdict under an old one is not kept under its successor.
        var generation = 0
        var verified = BoundedMap<TokenDigest, JWTRules.Believed>(capacity: JWTAuthority.cacheCapacity)
    }

    private let path: String
    private let rules: JWTRules
    private let state: Mutex<State>
    private let logger: Logger

    /// - Throws: ``KeySetError`` when the file cannot be used: the gateway does not start with keys it cannot read.
    init(path: String, rules: JWTRules, logger: Logger) async throws(KeySetError) {
        let contents = try Self.read(path)
        let keys = try await KeySet(json: contents)
        self.path = path
        self.rules = rules
        self.logger = logger
        self.state = Mutex(State(keys: keys, contents: contents))
    }

    /// - Parameter wallClock: decides about `exp` and `nbf`.
    func caller(presenting token: String, wallClock: Timestamp) throws(Problem) -> Caller {
        let seconds = Double(wallClock.milliseconds) / 1_000
        guard token.utf8.count <= JWTRules.lengthLimit else { throw JWTRules.refused("is too long") }
        let digest = TokenDigest(token)
        let (keys, generation, known) = self.state.withLock { ($0.keys, $0.generation, $0.verified[digest]?.value) }
        if let known { return try known.caller(now: seconds) }
        let parts = try JWTRules.parts(token)
        guard keys.verifies(parts) else { throw JWTRules.refused("is not signed by a known key") }
        let believed = try self.rules.believe(parts.claims)
        let caller = try believed.caller(now: seconds)
        self.state.withLock { state in
            if state.generation == generation { state.verified.set(digest, believed, at: 0) }
        }
        return caller
    }

    /// The caller of a token whose signature has been checked before; nil when it has not.
    func remembered(_ token: String, wallClock: Timestamp) -> Result<Caller, Problem>? {
        guard token.utf8.count <= JWTRules.lengthLimit else { return nil }
        let digest = TokenDigest(token)
        guard let known = self.state.withLock({ $0.verified[digest]?.value }) else { return nil }
        do throws(Problem) {
            return .success(try known.caller(now: Double(wallClock.milliseconds) / 1_000))
        } catch {
            return .failure(error)
        }
    }

    var keyIDs: [String] { self.state.withLock { $0.keys.ids } }

    /// Reads the file again if its contents have changed.
    /// - Returns: whether new keys are in force.
    @discardableResult
    func reload() async -> Bool {
        do {
            let contents = try Self.read(self.path)
            guard contents != self.state.withLock({ $0.contents }) else { return false }
            let keys = try await KeySet(json: contents)
            self.state.withLock { state in
                state = State(keys: keys, contents: contents, generation: state.generation + 1)
            }
            self.logger.info("JWKS reloaded", metadata: ["kids": "\(keys.ids.count)"])
            return true
        } catch {
            self.logger.warning("JWKS not reloaded, the last good keys stay", metadata: ["reason": "\(error)"])
            return false
        }
    }

    private static func read(_ path: String) throws(KeySetError) -> [UInt8] {
        guard let data = FileManager.default.contents(atPath: path) else { throw KeySetError("cannot be read") }
        return Array(data)
    }
}

extension JWTAuthority: Service {
    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do { try await Task.sleep(for: Self.pollInterval) } catch { return }
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
