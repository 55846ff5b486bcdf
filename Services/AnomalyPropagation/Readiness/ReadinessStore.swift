import Crypto
import Foundation
import Model
import Postgres

/// The tables behind the readiness matrix.
struct ReadinessStore: Sendable {
    let pool: PostgresPool

    func rows() async throws -> [(row: ReadinessRow, seal: String)] {
        try await self.pool.query(
            """
            SELECT component, check_name, severity, status, description, last_checked, evidence, version,
                   configuration_hash, environment, seal
            FROM production_readiness_matrix ORDER BY component, check_name, environment LIMIT 1000
            """
        ).compactMap { row in
            let (component, check, severity, status, description, at, evidence, version, hash, environment, seal) =
                try row.decode(
                    (
                        String, String, String, String, String, Timestamp, PostgresJSON<[String: String]>, String,
                        String,
                        String, String
                    ).self)
            guard let severity = ReadinessCheck.Severity(rawValue: severity),
                let status = ReadinessFinding.Status(rawValue: status)
            else { return nil }
            return (
                ReadinessRow(
                    component: component, check: check, severity: severity, status: status, description: description,
                    lastChecked: at, evidence: evidence.value, version: version, configurationHash: hash,
                    environment: environment), seal
            )
        }
    }

    func store(_ row: ReadinessRow, secret: SymmetricKey) async throws {
        try await self.pool.query(
            """
            INSERT INTO production_readiness_matrix (component, check_name, severity, status, description, last_checked,
                evidence, version, configuration_hash, environment, seal)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
            ON CONFLICT (component, check_name, environment) DO UPDATE SET severity = excluded.severity,
                status = excluded.status, description = excluded.description, last_checked = excluded.last_checked,
                evidence = excluded.evidence, version = excluded.version,
                configuration_hash = excluded.configuration_hash, seal = excluded.seal
            """,
            [
                .text(row.component), .text(row.check), .text(row.severity.rawValue), .text(row.status.rawValue),
                .text(row.description), .timestamp(row.lastChecked), try .jsonb(encoding: row.evidence),
                .text(row.version), .text(row.configurationHash), .text(row.environment), .text(row.seal(secret)),
            ])
    }

    /// The system as its instances say it runs; nil while none does. Instances that differ are all in the hash.
    func system() async throws -> RunningSystem? {
        let rows = try await self.pool.query(
            """
            SELECT DISTINCT service, version, configuration_hash, profile FROM service_instances
            WHERE seen_at > now() - interval '3 minutes' ORDER BY 1, 2, 3, 4
            """
        ).map { try $0.decode((String, String, String, String).self) }
        guard let first = rows.first else { return nil }
        let text = rows.map { "\($0.0) \($0.2)\n" }.joined()
        let hash = SHA256.hash(data: Data(text.utf8)).map { byte in
            let digits = String(byte, radix: 16)
            return digits.count == 1 ? "0" + digits : digits
        }.joined()
        return RunningSystem(
            version: Set(rows.map(\.1)).sorted().joined(separator: ", "), configurationHash: hash,
            environment: first.3)
    }
}
