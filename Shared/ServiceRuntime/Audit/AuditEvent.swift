import Foundation
import Glibc
import Model

/// How much is kept: each level has what those before it have.
public enum AuditLevel: String, CaseIterable, Comparable, Sendable {
    case off = "OFF"
    /// Refused credentials, scopes and limits; keys made, replaced and revoked.
    case security = "SECURITY"
    /// What changes settings: domains, topology, keys, restored snapshots.
    case changes = "CHANGES"
    /// Every request.
    case all = "ALL"

    private var rank: Int { Self.allCases.firstIndex(of: self) ?? 0 }
    public static func < (left: Self, right: Self) -> Bool { left.rank < right.rank }
}

/// Something an auditor may ask about: who did, or was not let do, what.
public struct AuditEvent: Hashable, Sendable {
    public enum Kind: String, Hashable, Sendable {
        /// Not let through: counted together when it comes again and again.
        case refusal
        case security
        case change
        case request

        /// From which level on it is kept.
        var level: AuditLevel {
            switch self {
            case .refusal, .security: .security
            case .change: .changes
            case .request: .all
            }
        }
    }

    public var kind: Kind
    /// The caller's name; `-` without a valid credential.
    public var actor: String
    public var credential: String
    public var keyID: String
    /// Address without port; `-` for the command line.
    public var peer: String
    /// `PUT /v1/domains/{id}`: the template, never what a client wrote; or the words of a command.
    public var action: String
    public var status: Int
    /// Problem code; empty for none.
    public var code: String
    public var traceID: String
    public var time: Timestamp

    /// What somebody did by a command: known by the name the machine has for who ran it.
    public static func command(_ kind: Kind, _ words: String, time: Timestamp) -> AuditEvent {
        let user = ProcessInfo.processInfo.userName
        return AuditEvent(
            kind, actor: user.isEmpty ? "user \(getuid())" : user, credential: "command", action: words, time: time)
    }

    /// Whether it is kept at a level.
    public func isKept(at level: AuditLevel) -> Bool { self.kind.level <= level }

    public init(
        _ kind: Kind, actor: String = "-", credential: String = "-", keyID: String = "-", peer: String = "-",
        action: String, status: Int = 0, code: String = "", traceID: String = "", time: Timestamp
    ) {
        self.kind = kind
        self.actor = actor
        self.credential = credential
        self.keyID = keyID
        self.peer = peer
        self.action = action
        self.status = status
        self.code = code
        self.traceID = traceID
        self.time = time
    }
}

/// A row of `audit_log`: one event, or a count of refusals alike.
public struct AuditRow: Hashable, Sendable {
    public var event: AuditEvent
    public var count: Int
    /// Of the last of them.
    public var lastTime: Timestamp

    public init(event: AuditEvent, count: Int = 1, lastTime: Timestamp? = nil) {
        self.event = event
        self.count = count
        self.lastTime = lastTime ?? event.time
    }
}
