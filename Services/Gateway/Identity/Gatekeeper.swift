import HTTPTypes
import Model

/// Identity and limits of one request: which credential it carries, whether that is good, and whose tokens it spends.
///
/// Whoever has no valid credential spends from the bucket of its address, before the database or a signature is asked.
struct Gatekeeper: Sendable {
    let keys: APIKeyAuthority
    /// nil: JSON Web Tokens are not accepted.
    let tokens: JWTAuthority?
    let callers: RateLimiter
    let strangers: RateLimiter

    var callerPolicy: GCRA { self.callers.policy }

    func admitStranger(_ peer: String) throws(Problem) {
        let decision = self.strangers.admit(peer)
        guard decision.isAdmitted else { throw self.refusal(decision) }
    }

    func spend(_ caller: Caller) -> GCRA.Decision { self.callers.admit(caller.limitKey) }

    func identify(_ fields: HTTPFields, peer: String) async throws(Problem) -> Caller {
        do throws(Problem) {
            switch try Credential.read(fields) {
            case .none:
                throw Problem(
                    .unauthenticated, detail: "Send an API key (X-API-Key or Authorization: Bearer) or a JWT.")
            case .apiKey(let key):
                if self.keys.isUnknown(key) { try self.requireRoom(peer) }
                return try await self.keys.caller(
                    presenting: key, wallClock: Timestamp(milliseconds: WallClock.milliseconds()))
            case .jwt(let token):
                guard let tokens else { throw Problem(.unauthenticated, detail: "Only API keys are accepted here.") }
                if !tokens.isKnown(token) { try self.requireRoom(peer) }
                return try tokens.caller(
                    presenting: token, wallClock: Timestamp(milliseconds: WallClock.milliseconds()))
            }
        } catch {
            // A failed attempt costs its address a token; when there is none left, that is the answer.
            if error.status == 401 || error.status == 400 { try self.admitStranger(peer) }
            throw error
        }
    }

    private func requireRoom(_ peer: String) throws(Problem) {
        let decision = self.strangers.peek(peer)
        guard decision.isAdmitted else { throw self.refusal(decision) }
    }

    private func refusal(_ decision: GCRA.Decision) -> Problem {
        RateLimitFields.problem(decision, of: self.strangers.policy, whose: "An address without a valid credential")
    }
}
