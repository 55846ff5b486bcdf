import Crypto
import Foundation
import Model
import Synchronization

/// The secrets gateway and services share, read from a file and read again when it changes: one secret a line, the first signs,
/// all are accepted, so secrets are rotated without an outage.
public final class CallerTokenSecrets: Sendable {
    public static let leastBytes = 32
    /// How long a change of the file may go unseen.
    static let checkInterval: Duration = .seconds(1)
    /// Verified tokens remembered until they expire; when it is full it is emptied.
    static let cacheLimit = 4_096

    private struct State {
        var secrets: [SymmetricKey]
        var stamp: Stamp
        var checkedAt: ContinuousClock.Instant
        var verified: [String: CallerToken] = [:]
    }

    private struct Stamp: Equatable {
        var modified: Date?
        var size: UInt64
        var node: UInt64
    }

    private let path: String
    private let state: Mutex<State>

    /// - Throws: ``SettingsError`` when the file cannot be read or a line is shorter than 32 bytes.
    public init(path: String) throws(SettingsError) {
        self.path = path
        self.state = Mutex(
            State(secrets: try Self.read(path), stamp: Self.stamp(path), checkedAt: ContinuousClock.now))
    }

    /// - Returns: nil for anything not signed with one of the secrets, or expired.
    public func verify(_ text: String, nowMs: Int64) -> CallerToken? {
        let (secrets, known) = self.state.withLock { state in
            self.refresh(&state)
            return (state.secrets, state.verified[text])
        }
        if let known { return known.expiresAtMs > nowMs ? known : nil }
        for secret in secrets {
            guard let token = CallerToken(verifying: text, secret: secret, nowMs: nowMs) else { continue }
            self.state.withLock { state in
                if state.verified.count >= Self.cacheLimit { state.verified.removeAll(keepingCapacity: true) }
                state.verified[text] = token
            }
            return token
        }
        return nil
    }

    /// All that are accepted, the signing one first.
    public var accepted: [SymmetricKey] {
        self.state.withLock { state in
            self.refresh(&state)
            return state.secrets
        }
    }

    /// What new tokens are signed with.
    public var signing: SymmetricKey? {
        self.state.withLock { state in
            self.refresh(&state)
            return state.secrets.first
        }
    }

    private func refresh(_ state: inout State) {
        let now = ContinuousClock.now
        guard now - state.checkedAt >= Self.checkInterval else { return }
        state.checkedAt = now
        let stamp = Self.stamp(self.path)
        // A file that is being replaced or is unusable leaves the secrets in force.
        guard stamp != state.stamp, let secrets = try? Self.read(self.path) else { return }
        state.secrets = secrets
        state.stamp = stamp
        state.verified.removeAll()
    }

    private static func stamp(_ path: String) -> Stamp {
        // Follows links, because Kubernetes swaps a symbolic link.
        let real = URL(fileURLWithPath: path).resolvingSymlinksInPath().path
        let attributes = (try? FileManager.default.attributesOfItem(atPath: real)) ?? [:]
        return Stamp(
            modified: attributes[.modificationDate] as? Date,
            size: (attributes[.size] as? NSNumber)?.uint64Value ?? 0,
            node: (attributes[.systemFileNumber] as? NSNumber)?.uint64Value ?? 0)
    }

    private static func read(_ path: String) throws(SettingsError) -> [SymmetricKey] {
        func fail(_ rule: String) -> SettingsError { SettingsError(faults: ["CALLER_TOKEN_SECRET_FILE \(rule)"]) }
        guard let data = FileManager.default.contents(atPath: path), data.count <= 65_536 else {
            throw fail("must name a file of at most 64 KiB that can be read")
        }
        let lines = data.split(whereSeparator: { $0 == 0x0A || $0 == 0x0D })
        guard !lines.isEmpty, lines.allSatisfy({ $0.count >= Self.leastBytes }) else {
            throw fail("must hold secrets of at least \(Self.leastBytes) bytes, one a line")
        }
        return lines.map { SymmetricKey(data: Data($0)) }
    }
}
