import HTTPTypes
import Hummingbird
import NIOCore
import Synchronization

/// Keeps answers of GET routes for a moment, the same for all who may read: dashboards and machines ask the same again and
/// again, and what the database says changes about once a second. `Age` (RFC 9111, 5.1) is on every answer that was kept;
/// `Cache-Control: no-cache` in a request asks for a new one.
public final class AnswerCache: Sendable {
    /// The setting that says how old an answer may be.
    public static let setting = Setting(
        "ANSWER_MAX_AGE_MS", .integer(0...60_000), unit: "ms", default: "1000",
        "Oldest answer that is given again to who asks the same about events, anomalies or forecasts; 0: none is kept.")
    public static let settingPrefix = "ANSWER_"

    private let kept: Mutex<KeptAnswers>

    public init(maximumAge: Duration) {
        self.kept = Mutex(KeptAnswers(maximumAge: maximumAge))
    }

    /// Answers that are at hand.
    /// - Parameter path: as in the table of routes; its last part may be a parameter.
    public func route(_ path: String) -> ReadyRoute {
        ReadyRoute(path: path) { target, _, headers in
            // Who says so is answered from the database (RFC 9111, 5.2.1.4).
            guard !Self.asksForNew(headers) else { return nil }
            let now = ContinuousClock.now
            guard let kept = self.kept.withLock({ $0.answer(target, now: now) }) else { return nil }
            var fields = Response.jsonFields(kept.body)
            fields[.age] = String(Int((now - kept.madeAt) / .seconds(1)))
            return ReadyAnswer(status: .ok, headers: fields, body: kept.body)
        }
    }

    /// Lets go of all answers, for memory's sake.
    public func empty() { self.kept.withLock { $0.removeAll() } }

    static func asksForNew(_ headers: HTTPFields) -> Bool {
        headers[values: .cacheControl].contains { field in
            FieldList.elements(of: field).contains { $0.prefix { $0 != "=" }.lowercased() == "no-cache" }
        }
    }

    /// An answer that is made now, and kept for those who ask the same through ``route(_:)``. What throws is not kept.
    ///
    /// It does not look whether one is kept: whoever comes here was sent to make a new one.
    public func json(_ request: Request, _ make: () async throws -> some Encodable) async throws -> Response {
        let askedAt = ContinuousClock.now
        let body = try APIJSON.bytes(try await make())
        if let target = request.head.path { self.kept.withLock { $0.keep(body, for: target, askedAt: askedAt) } }
        return Response.json(bytes: body)
    }
}
