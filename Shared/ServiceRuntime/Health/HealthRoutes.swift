import Foundation
import HTTPTypes
import Hummingbird
import Model
import NIOCore

/// `/livez` (the event loop turns), `/readyz` (may traffic come) and `/health` (for people): open to everyone.
public struct HealthRoutes: Sendable {
    private let monitor: HealthMonitor

    public init(monitor: HealthMonitor) { self.monitor = monitor }

    public func add<Context: RequestContext>(to router: some RouterMethods<Context>) {
        let monitor = self.monitor
        router.get("/livez") { _, _ in Self.text(.ok, "live\n") }
        router.get("/readyz") { _, _ in
            let readiness = await monitor.readiness()
            return readiness.isReady
                ? Self.text(.ok, "ready\n")
                : Problem(.unavailable, detail: readiness.reasons.joined(separator: "; "), retryAfter: 1)
                    .response(traceId: nil)
        }
        router.get("/health") { _, _ in
            let data = try APIJSON.encoder().encode(await monitor.report())
            return Response(
                status: .ok, headers: [.contentType: "application/json", .cacheControl: "no-store"],
                body: ResponseBody(byteBuffer: ByteBuffer(bytes: data)))
        }
    }

    private static func text(_ status: HTTPResponse.Status, _ text: String) -> Response {
        Response(
            status: status, headers: [.contentType: "text/plain; charset=utf-8", .cacheControl: "no-store"],
            body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
    }
}
