import Model
import ServiceRuntime
import Telemetry

/// What of a request an auditor may ask about.
enum Audited {
    /// nil: nothing of it is kept at any level below `ALL`, or it is a probe.
    static func kind(status: Int, route: APIRoute?, level: AuditLevel) -> AuditEvent.Kind? {
        guard level > .off else { return nil }
        switch status {
        case 401, 403, 429: return .refusal
        default: break
        }
        guard let route, let scope = route.scope else { return nil }
        if route.method != .get {
            if scope == .admin { return .security }
            if scope == .configure { return level >= .changes ? .change : nil }
        }
        return level >= .all ? .request : nil
    }

    /// - Parameter peer: the key of its limit: a network counts as one, as it does there.
    static func event(_ kind: AuditEvent.Kind, _ record: AccessRecord, peer: PeerText, timeMs: Int64) -> AuditEvent {
        AuditEvent(
            kind, actor: record.caller, credential: record.credential, keyID: record.keyID,
            peer: kind == .refusal ? peer.limitKey : record.peer,
            // The method is the client's text, too.
            action: record.route == "-" ? "-" : "\(AccessRecord.safe(record.method)) \(record.route)",
            status: record.status, code: record.code, traceID: "\(record.trace.traceID)",
            time: Timestamp(milliseconds: timeMs))
    }
}
