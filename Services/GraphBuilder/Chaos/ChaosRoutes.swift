import Hummingbird
import Model
import ServiceRuntime

/// `POST /v1/chaos`: breaks something of the replica that answers, on purpose and for a while; `GET /v1/chaos`: what came of
/// its latest trials, beside what was expected. `eventId` names an event whose owner is meant: the gateway sends both there.
/// Scope admin.
struct ChaosRoutes: Sendable {
    static let bodyLimit = 4 << 10

    /// nil: CHAOS_ENABLED is off.
    let control: ChaosControl?

    func add(to router: Router<CallContext>) {
        router.post("/v1/chaos") { request, _ in
            let event = try QueryParameters(request, known: ["eventId"]).name("eventId")
            let plan = try await request.decodeBody(ChaosTrial.self, limit: Self.bodyLimit).plan()
            return try Response.json(try await self.allowed().begin(plan, at: event))
        }
        router.get("/v1/chaos") { request, _ in
            _ = try QueryParameters(request, known: ["eventId"]).name("eventId")
            return try Response.json(ListPage(items: try self.allowed().book.latest))
        }
    }

    private func allowed() throws(Problem) -> ChaosControl {
        guard let control else { throw Problem(.forbidden, detail: "CHAOS_ENABLED is off in this installation") }
        return control
    }
}
