import AsyncHTTPClient
import Foundation
import Model
import NIOCore
import NIOHTTP1
import Postgres

/// The people's view of the whole: the gateway itself and every replica behind it. Asked at most once a second.
actor HealthCheck {
    /// Replicas asked per service, at most.
    static let probeLimit = 16
    /// Reasons told of one service, at most.
    static let reasonLimit = 16
    static let probeTimeout = TimeAmount.seconds(1)
    static let reuseNanoseconds: Int64 = 1_000_000_000
    /// A map of shards that is older than this makes the gateway degraded.
    static let mapAgeLimit: Int64 = 5_000_000_000

    struct Report: Codable, Hashable, Sendable {
        enum Status: String, Codable, Sendable { case healthy = "HEALTHY", degraded = "DEGRADED" }

        struct Service: Codable, Hashable, Sendable {
            var status: Status
            var replicas: Int
            var ready: Int
        }

        struct Metrics: Codable, Hashable, Sendable {
            /// Milliseconds of one round trip from the gateway; nil while the database is away.
            var dbLatency: Double?
            /// Layers of graphs that failed, over all replicas that answered.
            var layerFailures = 0
            /// Requests being answered by this gateway.
            var activeConnections: Int
            var lastSuccessfulBuild: String?
            /// `none`, or what services have fallen back to, separated by commas.
            var failover = "none"
        }

        var status: Status
        /// Why it is degraded; empty when it is not.
        var reasons: [String]
        var services: [String: Service]
        var metrics: Metrics
    }

    private let pool: PostgresPool?
    private let directory: ServiceDirectory
    private let client: HTTPClient
    private let activeRequests: @Sendable () -> Int
    private nonisolated let isDraining: @Sendable () -> Bool
    private var last: (report: Report, at: Int64)?
    private var running: Task<Report, Never>?

    init(
        pool: PostgresPool?, directory: ServiceDirectory, client: HTTPClient,
        activeRequests: @escaping @Sendable () -> Int, isDraining: @escaping @Sendable () -> Bool
    ) {
        self.pool = pool
        self.directory = directory
        self.client = client
        self.activeRequests = activeRequests
        self.isDraining = isDraining
    }

    /// Why no traffic should come here; nil: it should.
    nonisolated func unreadiness() -> String? {
        if self.isDraining() { return "it is shutting down" }
        if self.pool != nil, self.directory.age == nil { return "it has not read the shard map yet" }
        return nil
    }

    func report() async -> Report {
        if let last, MonotonicClock.nanoseconds() - last.at < Self.reuseNanoseconds { return last.report }
        if let running { return await running.value }
        let task = Task { await self.examine() }
        self.running = task
        let report = await task.value
        self.last = (report, MonotonicClock.nanoseconds())
        self.running = nil
        return report
    }

    private func examine() async -> Report {
        var reasons: [String] = []
        var metrics = Report.Metrics(
            dbLatency: nil, activeConnections: self.activeRequests(), lastSuccessfulBuild: nil)
        if let pool {
            if let latency = try? await pool.ping(within: .seconds(1)) {
                metrics.dbLatency =
                    (Double(latency.components.attoseconds) / 1e12).rounded() / 1_000
                    + Double(latency.components.seconds) * 1_000
            } else {
                reasons.append("the database does not answer")
            }
            if self.directory.age.map({ $0 > Self.mapAgeLimit }) ?? true { reasons.append("the shard map is old") }
        }
        if let reason = self.unreadiness(), !reasons.contains(reason) { reasons.append(reason) }
        var services: [String: Report.Service] = [:]
        for upstream in [Upstream.graphBuilder, .anomalyPropagation] {
            let addresses = Array(self.directory.addresses(of: upstream).prefix(Self.probeLimit))
            let probes = await self.probe(addresses)
            let ready = probes.count { $0.isReady }
            let isHealthy = ready > 0 && ready == addresses.count && probes.allSatisfy { $0.status != "DEGRADED" }
            services[upstream.serviceName] = Report.Service(
                status: isHealthy ? .healthy : .degraded, replicas: addresses.count, ready: ready)
            if !isHealthy { reasons.append("\(upstream.serviceName): \(ready) of \(addresses.count) replicas ready") }
            for reason in Set(probes.flatMap(\.reasons)).sorted().prefix(Self.reasonLimit) {
                reasons.append("\(upstream.serviceName): \(reason)")
            }
            for probe in probes { probe.add(to: &metrics) }
        }
        return Report(
            status: reasons.isEmpty ? .healthy : .degraded, reasons: reasons, services: services, metrics: metrics)
    }

    private struct Probe: Sendable {
        var isReady = false
        var status: String?
        /// Why it is degraded, as it says itself.
        var reasons: [String] = []
        var metrics: [String: StrictJSON] = [:]

        func add(to total: inout Report.Metrics) {
            if let failures = self.metrics["layerFailures"]?.double, let count = Int(exactly: failures.rounded()) {
                total.layerFailures += count
            }
            if let build = self.metrics["lastSuccessfulBuild"]?.text {
                total.lastSuccessfulBuild = max(total.lastSuccessfulBuild ?? "", build)
            }
            if let failover = self.metrics["failover"]?.text, failover != "none" {
                total.failover = total.failover == "none" ? failover : "\(total.failover),\(failover)"
            }
        }
    }

    private func probe(_ addresses: [String]) async -> [Probe] {
        let client = self.client
        return await withTaskGroup(of: Probe.self) { group in
            for address in addresses {
                group.addTask {
                    var probe = Probe()
                    let ready = try? await client.execute(
                        HTTPClientRequest(url: address + "/readyz"), timeout: Self.probeTimeout)
                    probe.isReady = ready?.status.code == 200
                    if let health = try? await client.execute(
                        HTTPClientRequest(url: address + "/health"), timeout: Self.probeTimeout),
                        let body = try? await health.body.collect(upTo: 64 << 10)
                    {
                        let fields = StrictJSON.parse(Array(body.readableBytesView))?.fields
                        probe.status = fields?["status"]?.text
                        probe.reasons = fields?["reasons"]?.list?.compactMap(\.text) ?? []
                        probe.metrics = fields?["metrics"]?.fields ?? [:]
                    }
                    return probe
                }
            }
            return await group.reduce(into: []) { $0.append($1) }
        }
    }
}
