import HTTPTypes
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import ServiceLifecycle
import Telemetry

/// The machines' listener: `/metrics`, and the health routes for probes that have no TLS and no token. Never public.
struct MetricsListener: Service {
    let registry: MetricsRegistry
    let health: HealthMonitor
    let host: String
    let port: Int
    let logger: Logger

    func run() async throws {
        let router = Router()
        let registry = self.registry
        router.get("/metrics") { request, _ in
            let format = ExpositionFormat(accept: request.headers[values: .accept].joined(separator: ","))
            return Response(
                status: .ok, headers: [.contentType: format.contentType, .vary: "Accept"],
                body: ResponseBody(byteBuffer: ByteBuffer(string: registry.exposition(format))))
        }
        HealthRoutes(monitor: self.health).add(to: router)
        let logger = self.logger
        let application = Application(
            router: router, server: .http1(configuration: HTTP1Channel.Configuration(idleTimeout: .seconds(30))),
            configuration: ApplicationConfiguration(
                address: .hostname(self.host, port: self.port),
                availableConnectionsDelegate: MaximumAvailableConnections(64)),
            onServerRunning: { channel in
                logger.info("metrics listen", metadata: ["address": "\(channel.localAddress?.description ?? "")"])
            }, logger: Logger.quietServer)
        try await application.run()
    }
}

extension Logger {
    /// For the HTTP library's own lines: problems only, our own lines say the rest.
    static var quietServer: Logger {
        var logger = Logger(label: "http")
        logger.logLevel = max(.notice, logger.logLevel)
        return logger
    }
}
