import Crypto
import Foundation
import Model
import Postgres

/// The tables behind the readiness matrix.
struct ReadinessStore: Sendable {
    let pool: PostgresPool

    private static let every: PostgresStatement = """
        SELECT component, check_name, severity, status, description, last_checked, evidence, version,
               configuration_hash, environment, seal
        FROM production_readiness_matrix ORDER BY component, check_name, environment LIMIT 1000
        """
    private static let write: PostgresStatement = """
        INSERT INTO production_readiness_matrix (component, check_name, severity, status, description, last_checked,
            evidence, version, configuration_hash, environment, seal)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        ON CONFLICT (component, check_name, environment) DO UPDATE SET severity = excluded.severity,
            status = excluded.status, description = excluded.description, last_checked = excluded.last_checked,
            evidence = excluded.evidence, version = excluded.version,
            configuration_hash = excluded.configuration_hash, seal = excluded.seal
        """

    func rows() async throws -> [(row: ReadinessRow, seal: String)] {
        try Self.decoded(await self.pool.query(Self.every))
    }

    private static func decoded(_ rows: PostgresRows) throws -> [(row: ReadinessRow, seal: String)] {
        try rows.compactMap { row in
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

    private static func values(_ row: ReadinessRow, _ secret: SymmetricKey) throws -> [PostgresValue] {
        [
            .text(row.component), .text(row.check), .text(row.severity.rawValue), .text(row.status.rawValue),
            .text(row.description), .timestamp(row.lastChecked), try .jsonb(encoding: row.evidence),
            .text(row.version), .text(row.configurationHash), .text(row.environment), .text(row.seal(secret)),
        ]
    }

    func store(_ row: ReadinessRow, secret: SymmetricKey) async throws {
        try await self.pool.query(Self.write, try Self.values(row, secret))
    }

    /// Takes evidence of another installation in, sealed anew by our own secret, in one transaction: all of it or nothing. What
    /// is newer here stays, unless nobody has sealed it.
    ///
    /// - Parameters:
    ///   - own: our environment, whose evidence only our own runs write.
    ///   - accepted: secrets whose seals are believed of rows that are here.
    /// - Returns: how many rows were written, and how many were as new here.
    func take(
        _ rows: [ReadinessRow], own: String, accepted: [SymmetricKey], secret: SymmetricKey
    ) async throws -> (taken: Int, kept: Int) {
        guard rows.allSatisfy({ $0.environment != own }) else { throw ReadinessFileError.own(environment: own) }
        return try await self.pool.withTransaction(deadline: .now + .seconds(10)) { connection in
            // Readers go on; nobody writes between our look and our rows.
            try await connection.query("LOCK TABLE production_readiness_matrix IN SHARE ROW EXCLUSIVE MODE")
            let here = try Self.decoded(try await connection.query(Self.every)).filter {
                $0.row.isSealed($0.seal, by: accepted)
            }.map(\.row)
            var taken = 0
            for row in rows where !here.contains(where: { $0.isSamePlace(row) && $0.lastChecked >= row.lastChecked }) {
                try await connection.query(Self.write, try Self.values(row, secret))
                taken += 1
            }
            return (taken, rows.count - taken)
        }
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
        let hash = SHA256.hash(data: Data(text.utf8)).hexadecimal
        return RunningSystem(
            version: Set(rows.map(\.1)).sorted().joined(separator: ", "), configurationHash: hash,
            environment: first.3)
    }
}
