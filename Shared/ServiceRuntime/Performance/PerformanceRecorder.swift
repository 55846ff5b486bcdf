import Crypto
import Foundation
import Logging
import Postgres
import ServiceLifecycle
import Telemetry

/// Writes what this instance did into `audit_performance_metrics` every minute, and into `service_instances` that it is there.
struct PerformanceRecorder: Service {
    static let retentionDays = 7
    /// How often a changed configuration is looked for.
    static let lookInterval = Duration.seconds(3)

    let service: String
    /// Unique per process.
    let instance: String
    let database: PostgresPool
    let registry: MetricsRegistry
    let live: LiveSettings
    let logger: Logger
    var interval = Duration.seconds(60)

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var window = PerformanceWindow()
            var since = ContinuousClock.now
            var cpuSeconds = ProcessMetrics.current().cpuSeconds
            var rounds = 0
            // The first look only says where counting begins.
            _ = window.rows(self.registry.histograms(), seconds: 1)
            var fingerprint = ""
            while !Task.isCancelled {
                // Whoever judges evidence must learn of another configuration soon.
                let current = self.live.current.fingerprint
                if current != fingerprint {
                    await self.tryTo("register") {
                        try await self.register()
                        fingerprint = current
                    }
                }
                guard (try? await Task.sleep(for: min(self.interval, Self.lookInterval))) != nil else { break }
                guard since.duration(to: .now) >= self.interval else { continue }
                let seconds = since.duration(to: .now) / .seconds(1)
                let process = ProcessMetrics.current()
                let rows = window.rows(self.registry.histograms(), seconds: seconds)
                let share = max(0, process.cpuSeconds - cpuSeconds) / max(0.001, seconds)
                (since, cpuSeconds) = (.now, process.cpuSeconds)
                await self.tryTo("record") {
                    try await self.register()
                    try await self.write(rows, seconds: seconds, memory: process.residentBytes, cpuShare: share)
                }
                rounds += 1
                if rounds % 60 == 0 { await self.tryTo("purge") { try await self.purge() } }
            }
            await self.tryTo("leave") {
                try await self.database.query(
                    "DELETE FROM service_instances WHERE service = $1 AND instance = $2",
                    [.text(self.service), .text(self.instance)], deadline: .now + .seconds(1))
            }
        }
    }

    /// A minute that cannot be written is lost; the service goes on.
    private func tryTo(_ what: String, _ body: () async throws -> Void) async {
        do { try await body() } catch {
            guard !Task.isCancelled else { return }
            self.logger.debug(
                "performance is not recorded", metadata: ["step": "\(what)", "error": "\(String(reflecting: error))"])
        }
    }

    private func register() async throws {
        let settings = self.live.current
        try await self.database.query(
            """
            INSERT INTO service_instances (service, instance, version, configuration_hash, profile)
            VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (service, instance) DO UPDATE SET version = excluded.version,
                configuration_hash = excluded.configuration_hash, profile = excluded.profile, seen_at = now()
            """,
            [
                .text(self.service), .text(self.instance), .text(BuildVersion.text), .text(settings.fingerprint),
                .text(settings.profile),
            ])
    }

    func write(_ rows: [PerformanceWindow.Row], seconds: Double, memory: Int, cpuShare: Double) async throws {
        guard !rows.isEmpty else { return }
        try await self.database.query(
            """
            INSERT INTO audit_performance_metrics (recorded_at, service, instance, operation, window_seconds, count,
                throughput_per_second, mean_ms, p50_ms, p99_ms, memory_bytes, cpu_share)
            SELECT now(), $1, $2, operation, $3, count, throughput, mean, p50, p99, $4, $5
            FROM unnest($6::text[], $7::bigint[], $8::double precision[], $9::double precision[], $10::double precision[],
                        $11::double precision[]) AS r(operation, count, throughput, mean, p50, p99)
            ON CONFLICT DO NOTHING
            """,
            [
                .text(self.service), .text(self.instance), .double(seconds), .int(memory), .double(cpuShare),
                .textArray(rows.map(\.operation)), .int64Array(rows.map { Int64($0.count) }),
                .doubleArray(rows.map(\.throughputPerSecond)), .doubleArray(rows.map(\.meanMs)),
                .doubleArray(rows.map(\.p50Ms)), .doubleArray(rows.map(\.p99Ms)),
            ])
    }

    private func purge() async throws {
        try await self.database.query(
            "DELETE FROM audit_performance_metrics WHERE recorded_at < now() - $1 * interval '1 day'",
            [.int32(Int32(Self.retentionDays))])
        try await self.database.query("DELETE FROM service_instances WHERE seen_at < now() - interval '1 day'")
    }
}

extension ServiceSettings {
    /// Where a replica listens and what it keeps to itself: different on every machine, and no matter of behaviour.
    private static let places: Set<String> = [
        "HTTP_HOST", "HTTP_PORT", "METRICS_HOST", "METRICS_PORT", "REPLICA_ADDRESS", "LOG_FORMAT", "OTLP_ENDPOINT",
        "UPSTREAM_GRAPH_BUILDER", "UPSTREAM_ANOMALY_PROPAGATION", "SNAPSHOT_DIR",
    ]

    /// What an installation is for, and whether trials may break it: they must differ between staging and production, whose
    /// evidence would else never be about the same configuration.
    private static let purposes: Set<String> = ["UNDERCURRENT_PROFILE", "CHAOS_ENABLED"]

    /// SHA-256 over all settings that decide how the service behaves; says nothing about secrets.
    public var fingerprint: String {
        let left = Self.places.union(Self.purposes)
        let lines = self.table.filter { !$0.isSecret && !left.contains($0.name) }.map { setting in
            let isFile = setting.kind == .file
            return "\(setting.name)=\(self.values[setting.name].map { isFile ? "(file)" : $0 } ?? "")\n"
        }
        return SHA256.hash(data: Data(lines.sorted().joined().utf8)).map { byte in
            let text = String(byte, radix: 16)
            return text.count == 1 ? "0" + text : text
        }.joined()
    }
}
