import Crypto
import Foundation
import Model
import Postgres
import ServiceRuntime
import TestSupport
import Testing

@testable import AnomalyPropagation

@Suite("Evidence from one installation to another")
struct ReadinessFileTests {
    private static let secret = SymmetricKey(data: Data("0123456789abcdef0123456789abcdef".utf8))
    private static let stranger = SymmetricKey(data: Data("ffffffffffffffffffffffffffffffff".utf8))

    /// What a service of this configuration says of itself, as its recorder writes it.
    private static func register(_ changes: [String: String], in pool: PostgresPool) async throws -> RunningSystem {
        let environment = ["DATABASE_URL": "dbname=x"].merging(changes) { $1 }
        let settings = try SettingsLoader(
            service: AnomalyPropagation.name, table: Setting.shared(httpPort: 1, metricsPort: 2)
        ).load(environment: environment)
        try await pool.query(
            "INSERT INTO service_instances VALUES ('anomaly-propagation', 'i', '1', $1, $2)",
            [.text(settings.fingerprint), .text(settings.profile)])
        return try #require(try await ReadinessStore(pool: pool).system())
    }

    private static func row(
        _ check: ReadinessCheck, _ status: ReadinessFinding.Status = .pass, of system: RunningSystem, at time: Int64 = 0
    ) -> ReadinessRow {
        ReadinessRow(
            component: ReadinessCheck.component, check: check.rawValue, severity: check.severity, status: status,
            description: check.description, lastChecked: Timestamp(milliseconds: time),
            evidence: ["seen": "a \"1\"\n2"], version: system.version,
            configurationHash: system.configurationHash, environment: system.environment)
    }

    private static func standing(
        _ check: ReadinessCheck, in store: ReadinessStore
    ) async throws -> ReadinessReport.Item? {
        let rows = try await store.rows().map { (row: $0.row, isSealed: $0.row.isSealed($0.seal, by: [Self.secret])) }
        let report = ReadinessReport(rows, system: try await store.system(), now: Timestamp(milliseconds: 1_000))
        return report.items.first { $0.check == check.rawValue }
    }

    /// Seen to fail: with rows believed without their seals.
    @Test(
        "what staging has proven counts in production, which may not try it; what production saw fail does not give way"
    )
    func fromStagingToProduction() async throws {
        try await TestDatabase.with { stagingDatabase in
            try await TestDatabase.with { productionDatabase in
                try await stagingDatabase.withPool { stagingPool in
                    try await productionDatabase.withPool { productionPool in
                        try await Self.carry(
                            from: ReadinessStore(pool: stagingPool), to: ReadinessStore(pool: productionPool))
                    }
                }
            }
        }
    }

    private static func carry(from staging: ReadinessStore, to production: ReadinessStore) async throws {
        let there = try await Self.register(
            ["UNDERCURRENT_PROFILE": "staging", "CHAOS_ENABLED": "true"], in: staging.pool)
        let here = try await Self.register([:], in: production.pool)
        #expect(there.environment == "staging" && here.environment == "production")
        for check in [ReadinessCheck.chaos, .simd] {
            try await staging.store(Self.row(check, of: there), secret: Self.secret)
        }
        try await production.store(Self.row(.chaos, .pending, of: here), secret: Self.secret)
        try await production.store(Self.row(.simd, .fail, of: here), secret: Self.secret)
        #expect(try await Self.standing(.chaos, in: production)?.status == .pending)

        let text = try ReadinessFile.text(try await staging.rows(), secret: Self.secret)
        let rows = try ReadinessFile.rows(in: Data(text.utf8), secrets: [Self.stranger, Self.secret])
        #expect(rows.count == 2)
        // Sealed anew by the secret of here: the other may go.
        func take(_ rows: [ReadinessRow]) async throws -> (taken: Int, kept: Int) {
            try await production.take(rows, own: "production", accepted: [Self.secret], secret: Self.secret)
        }
        #expect(try await take(rows) == (2, 0))
        let chaos = try await Self.standing(.chaos, in: production)
        #expect(chaos?.status == .pass && chaos?.environment == "staging" && chaos?.note == nil)
        #expect(try await Self.standing(.simd, in: production)?.status == .fail)

        // Once more changes nothing; older evidence does not push out newer, unless nobody sealed that.
        #expect(try await take(rows) == (0, 2))
        let older = Self.row(.chaos, .fail, of: there, at: -1)
        #expect(try await take([older]) == (0, 1))
        try await production.pool.query(
            "UPDATE production_readiness_matrix SET description = 'mine' WHERE environment = 'staging'")
        #expect(try await Self.standing(.chaos, in: production)?.status == .pending)
        #expect(try await take([older]) == (1, 0))
        #expect(try await Self.standing(.chaos, in: production)?.status == .fail)

        // A file of our own environment is no evidence of another; nothing of it is taken.
        let own = Self.row(.simd, of: here, at: 5)
        await #expect(throws: ReadinessFileError.own(environment: "production")) {
            _ = try await take([Self.row(.runbook, of: there), own])
        }
        #expect(try await Self.standing(.runbook, in: production)?.status == .pending)
        // Other settings are another configuration.
        try await production.pool.query("DELETE FROM service_instances")
        _ = try await Self.register(["QUERY_TIMEOUT_MS": "51"], in: production.pool)
        _ = try await take([Self.row(.chaos, of: there, at: 6)])
        #expect(try await Self.standing(.chaos, in: production)?.note == "it is about another configuration")
    }

    /// Seen to fail: with rows believed without their seals.
    @Test("a file that is damaged, cut off, forged or made of parts is refused as a whole, with the reason")
    func refusals() throws {
        let system = RunningSystem(version: "1", configurationHash: "c", environment: "staging")
        let rows = [ReadinessCheck.chaos, .simd, .runbook].map { check in
            let row = Self.row(check, of: system)
            return (row: row, seal: row.seal(Self.secret))
        }
        let text = try ReadinessFile.text(rows, secret: Self.secret)
        func outcome(_ text: String, by secret: SymmetricKey = Self.secret) -> String {
            do throws(ReadinessFileError) {
                return "\(try ReadinessFile.rows(in: Data(text.utf8), secrets: [secret]).count) rows"
            } catch {
                return error.description
            }
        }
        #expect(outcome(text) == "3 rows")
        #expect(outcome("").contains("damaged: its first line"))
        #expect(outcome("{}\n").contains("damaged: its first line"))
        // Cut off anywhere.
        for length in stride(from: 0, to: text.utf8.count, by: 7) {
            #expect(outcome(String(text.prefix(length))).contains("damaged"), "\(length)")
        }
        #expect(outcome(String(text.dropLast())).contains("ends early"))
        var lines = text.split(separator: "\n").map(String.init)
        lines[2] = lines[2].replacing(#""status":"PASS""#, with: #""status":"WARN""#)
        func whole() -> String { lines.joined(separator: "\n") + "\n" }
        #expect(outcome(whole()).contains("not believed: no accepted secret sealed line 3"))
        lines[2] = "{"
        #expect(outcome(whole()).contains("damaged: line 3"))
        // A row left out, its number mended: the rows are sealed, the whole is not.
        lines.remove(at: 2)
        lines[0] = lines[0].replacing(#""rows":3"#, with: #""rows":2"#)
        #expect(outcome(whole()).contains("sealed these rows together"))
        #expect(outcome(text, by: Self.stranger).contains("not believed"))
    }
}
