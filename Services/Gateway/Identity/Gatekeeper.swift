import Model

/// Identity and limits of one request: which credential it carries, whether that is good, and whose tokens it spends.
///
/// Whoever has no valid credential spends from the bucket of its address, before the database or a signature is asked.
final class Gatekeeper: Sendable {
    let keys: APIKeyAuthority
    /// nil: JSON Web Tokens are not accepted.
    let tokens: JWTAuthority?
    let callers: any CallerLimiter
    let strangers: RateLimiter
    /// What a client certificate without another credential allows.
    let certificateScopes: Set<Scope>

    init(
        keys: APIKeyAuthority, tokens: JWTAuthority?, callers: any CallerLimiter, strangers: RateLimiter,
        certificateScopes: Set<Scope> = []
    ) {
        self.keys = keys
        self.tokens = tokens
        self.callers = callers
        self.strangers = strangers
        self.certificateScopes = certificateScopes
    }

    /// What can be said at once about who sends a request.
    enum Verdict: Sendable {
        case known(Caller)
        case refused(Problem)
        /// Something must be waited for: ``answer(_:peer:nowMs:)``.
        case ask(Question)
    }

    enum Question: Sendable {
        /// The database must be asked.
        case key(APIKeyText)
        /// The token names a key that is not known: maybe it is new.
        case token(String)
    }

    var callerPolicy: GCRA { self.callers.policy }

    func admitStranger(_ peer: String) throws(Problem) {
        let decision = self.strangers.admit(peer)
        guard decision.isAdmitted else { throw self.refusal(decision) }
    }

    /// Takes a token of an address when there is one.
    func hasRoomForStranger(_ peer: String) -> Bool { self.strangers.admit(peer).isAdmitted }

    func spend(_ caller: Caller) -> GCRA.Decision { self.callers.admit(caller.limitKey) }

    /// - Parameter nowMs: wall clock, milliseconds since 1970.
    /// - Parameter memory: of the connection the request came on.
    func identify(_ fields: FieldBlock, memory: CredentialMemory, peer: PeerText, nowMs: Int64) -> Verdict {
        do throws(Problem) {
            let now = Timestamp(milliseconds: nowMs)
            let (credential, digest) = try memory.read(fields)
            switch credential {
            case .none:
                if let name = peer.certificateName {
                    return .known(
                        Caller(name: name, scopes: self.certificateScopes, credential: .certificate, keyID: nil))
                }
                throw Problem(
                    .unauthenticated, detail: "Send an API key (X-API-Key or Authorization: Bearer) or a JWT.")
            case .apiKey(let key):
                if let remembered = self.keys.remembered(key, wallClock: now) { return .known(try remembered.get()) }
                if self.keys.isUnknown(key) { try self.requireRoom(peer.limitKey) }
                return .ask(.key(key))
            case .jwt(let token):
                guard let tokens else { throw Problem(.unauthenticated, detail: "Only API keys are accepted here.") }
                if let digest, let remembered = tokens.remembered(digest, wallClock: now) {
                    return .known(try remembered.get())
                }
                try self.requireRoom(peer.limitKey)
                if try tokens.namesUnknownKey(token) { return .ask(.token(token)) }
                return .known(try tokens.caller(presenting: token, wallClock: now))
            }
        } catch {
            return .refused(self.charged(error, peer: peer.limitKey))
        }
    }

    /// Finds out what memory does not know well enough.
    func answer(_ question: Question, peer: PeerText, nowMs: Int64) async throws(Problem) -> Caller {
        let now = Timestamp(milliseconds: nowMs)
        switch question {
        case .key(let key):
            do throws(Problem) {
                return try await self.keys.caller(presenting: key, wallClock: now)
            } catch {
                throw self.charged(error, peer: peer.limitKey)
            }
        case .token(let token):
            guard let tokens else { throw Problem(.unauthenticated, detail: "Only API keys are accepted here.") }
            do throws(Problem) {
                return try await tokens.callerAfterRefresh(presenting: token, wallClock: now)
            } catch {
                // Also one that could not be decided: whoever makes up key names pays for it.
                let decision = self.strangers.admit(peer.limitKey)
                throw decision.isAdmitted ? error : self.refusal(decision)
            }
        }
    }

    /// A failed attempt costs its address a token; when there is none left, that is the answer.
    private func charged(_ problem: Problem, peer: String) -> Problem {
        guard problem.status == 401 || problem.status == 400 else { return problem }
        let decision = self.strangers.admit(peer)
        return decision.isAdmitted ? problem : self.refusal(decision)
    }

    private func requireRoom(_ peer: String) throws(Problem) {
        let decision = self.strangers.peek(peer)
        guard decision.isAdmitted else { throw self.refusal(decision) }
    }

    private func refusal(_ decision: GCRA.Decision) -> Problem {
        RateLimitFields.problem(decision, of: self.strangers.policy, whose: "An address without a valid credential")
    }
}
