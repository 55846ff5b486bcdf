import Hummingbird
import Model
import ServiceRuntime

/// `POST /v1/chaos`: breaks something of the replica that answers, on purpose and for a while. Scope admin.
struct ChaosRoutes: Sendable {
    static let bodyLimit = 4 << 10

    struct Answer: Encodable, Sendable {
        var kind: ChaosTrial.Kind
        var expectation: String
        var done: String
        var seconds: Int
    }

    /// nil: CHAOS_ENABLED is off.
    let control: ChaosControl?

    func add(to router: Router<CallContext>) {
        router.post("/v1/chaos") { request, _ in
            guard let control = self.control else {
                throw Problem(.forbidden, detail: "CHAOS_ENABLED is off in this installation")
            }
            let plan = try await request.decodeBody(ChaosTrial.self, limit: Self.bodyLimit).plan()
            let done = try await control.carryOut(plan)
            return try JSONAnswer.response(
                Answer(kind: plan.kind, expectation: plan.expectation, done: done, seconds: plan.seconds))
        }
    }
}
