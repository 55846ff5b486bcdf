import CoreMetrics
import Foundation
import Logging
import NIOSSL
import ServiceLifecycle
import Synchronization

/// The certificate the gateway serves with. Read again when a file changes; a pair that cannot be used is logged and the last
/// good one stays. Connections keep what they began with, so a change drops none.
final class ServerCertificates: Sendable {
    static let pollInterval = Duration.seconds(2)

    private struct State {
        var context: NIOSSLContext
        var contents: [Data]
        /// The contents that were refused last, so that one fault makes one line in the log.
        var refused: [Data]?
    }

    /// nil: fixed for the life of the process.
    private let files: TLSFiles.Pair?
    private let state: Mutex<State>
    private let expiry: Meter
    private let logger: Logger

    init(
        _ configuration: TLSConfiguration, files: TLSFiles.Pair?, logger: Logger,
        metrics: any MetricsFactory = MetricsSystem.factory
    ) throws {
        self.files = files
        self.logger = logger
        self.expiry = Meter(label: "gateway_certificate_expiry_timestamp_seconds", dimensions: [], factory: metrics)
        self.state = Mutex(
            State(
                context: try NIOSSLContext(configuration: Self.serving(configuration)), contents: files?.contents ?? [])
        )
        self.report(configuration)
    }

    /// For the next connection.
    var context: NIOSSLContext { self.state.withLock { $0.context } }

    private static func serving(_ configuration: TLSConfiguration) -> TLSConfiguration {
        var configuration = configuration
        configuration.applicationProtocols = ["h2", "http/1.1"]
        return configuration
    }

    private func report(_ configuration: TLSConfiguration) {
        for case .certificate(let certificate) in configuration.certificateChain.prefix(1) {
            self.expiry.set(Double(certificate.notValidAfter))
        }
    }

    /// Reads the files again if they have changed.
    /// - Returns: whether a new pair is in force.
    @discardableResult
    func reload() -> Bool {
        guard let files else { return false }
        let contents = files.contents
        guard self.state.withLock({ $0.contents != contents && $0.refused != contents }) else { return false }
        do {
            let configuration = try files.configuration()
            let context = try NIOSSLContext(configuration: Self.serving(configuration))
            self.state.withLock { $0 = State(context: context, contents: contents) }
            self.report(configuration)
            self.logger.notice("certificate reloaded")
            return true
        } catch {
            self.state.withLock { $0.refused = contents }
            self.logger.error("certificate not reloaded, the last good one stays", metadata: ["reason": "\(error)"])
            return false
        }
    }
}

extension ServerCertificates: Service {
    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do { try await Task.sleep(for: Self.pollInterval) } catch { return }
                self.reload()
            }
        }
    }
}
