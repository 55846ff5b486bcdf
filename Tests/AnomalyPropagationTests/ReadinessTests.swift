import Crypto
import Foundation
import Model
import Postgres
import ServiceRuntime
import TestSupport
import Testing

@testable import AnomalyPropagation

@Suite("Readiness by evidence")
struct ReadinessTests {
    private static let secret = SymmetricKey(data: Data("0123456789abcdef0123456789abcdef".utf8))
    private static let system = RunningSystem(version: "1", configurationHash: "c", environment: "staging")
    private static let day: Int64 = 86_400_000

    private static func row(
        _ check: ReadinessCheck = .simd, _ status: ReadinessFinding.Status = .pass, at time: Int64 = 0
    ) -> ReadinessRow {
        ReadinessRow(
            component: ReadinessCheck.component, check: check.rawValue, severity: check.severity, status: status,
            description: check.description, lastChecked: Timestamp(milliseconds: time), evidence: ["seen": "1"],
            version: "1", configurationHash: "c", environment: "staging")
    }

    @Test("there are twenty checks: eight CRITICAL, eight HIGH, four MEDIUM")
    func checks() {
        let severities = ReadinessCheck.allCases.map(\.severity)
        #expect(severities.count == 20)
        #expect(severities.count { $0 == .critical } == 8 && severities.count { $0 == .high } == 8)
        #expect(severities.count { $0 == .medium } == 4)
    }

    @Test("evidence of another version, another configuration or another week is WARN; a failure stays one")
    func standing() {
        let now = Timestamp(milliseconds: 7 * Self.day)
        #expect(Self.row().standing(isSealed: true, for: Self.system, now: now).status == .pass)
        #expect(
            Self.row().standing(isSealed: true, for: Self.system, now: Timestamp(milliseconds: 7 * Self.day + 1)).status
                == .warn)
        var other = Self.system
        other.version = "2"
        #expect(Self.row().standing(isSealed: true, for: other, now: now).status == .warn)
        other = Self.system
        other.configurationHash = "d"
        #expect(Self.row().standing(isSealed: true, for: other, now: now).note == "it is about another configuration")
        #expect(Self.row(.simd, .fail).standing(isSealed: true, for: Self.system, now: now).status == .fail)
        let unsealed = Self.row().standing(isSealed: false, for: Self.system, now: now)
        #expect(unsealed.status == .pending && unsealed.note?.contains("no run of the checks") == true)
    }

    @Test("every part of a row is under its seal")
    func sealing() {
        let seal = Self.row().seal(Self.secret)
        #expect(Self.row().isSealed(seal, by: [Self.secret]))
        #expect(
            !Self.row().isSealed(seal, by: [SymmetricKey(size: .bits256)])
                && !Self.row().isSealed("", by: [Self.secret]))
        let changes: [(inout ReadinessRow) -> Void] = [
            { $0.status = .warn }, { $0.check = "chaos" }, { $0.evidence["seen"] = "2" }, { $0.version = "2" },
            { $0.configurationHash = "x" }, { $0.environment = "production" }, { $0.severity = .low },
            { $0.lastChecked = Timestamp(milliseconds: 1) }, { $0.component = "x" }, { $0.description = "x" },
        ]
        for (index, change) in changes.enumerated() {
            var row = Self.row()
            change(&row)
            #expect(!row.isSealed(seal, by: [Self.secret]), "change \(index)")
        }
    }

    @Test("blockers are CRITICAL checks that failed or that nobody made")
    func summary() {
        let now = Timestamp(milliseconds: 0)
        let all = ReadinessCheck.allCases.map { (row: Self.row($0), isSealed: true) }
        let whole = ReadinessReport(all, system: Self.system, now: now)
        #expect(whole.summary.blockers == 0 && whole.summary.passed == 20 && whole.summary.compliance == 100)
        let none = ReadinessReport([], system: Self.system, now: now)
        #expect(none.summary.blockers == 8 && none.items.allSatisfy { $0.status == .pending })
        var one = all
        one[0].row.status = .fail
        one[19].row.status = .fail
        #expect(ReadinessReport(one, system: Self.system, now: now).summary.blockers == 1)
        // A failure cannot be cleared by breaking its seal, not even where another environment passed.
        var changed = all
        changed[0].isSealed = false
        #expect(ReadinessReport(changed, system: Self.system, now: now).summary.blockers == 1)
        var elsewhere = Self.row(.rateLimiting)
        elsewhere.environment = "development"
        #expect(
            ReadinessReport(changed + [(elsewhere, true)], system: Self.system, now: now).summary.blockers == 1)
        // Evidence of staging stands in for what production refuses, but not for what it saw fail.
        var production = Self.system
        production.environment = "production"
        var refused = Self.row(.chaos, .pending)
        refused.environment = "production"
        let both = ReadinessReport(all + [(refused, true)], system: production, now: now)
        #expect(both.items.first { $0.check == "chaos" }?.status == .pass)
        refused.status = .fail
        let failed = ReadinessReport(all + [(refused, true)], system: production, now: now)
        #expect(failed.items.first { $0.check == "chaos" }?.status == .fail)
    }

    /// Seen to fail: with rows believed without their seals.
    @Test(
        "a row set to PASS by hand is not believed, what a run wrote is; and an installation is known by its instances")
    func table() async throws {
        try await TestDatabase.with { database in
            try await database.withPool { pool in
                let store = ReadinessStore(pool: pool)
                #expect(try await store.system() == nil)
                try await pool.query(
                    "INSERT INTO service_instances VALUES ('graph-builder', 'i', '1', 'h', 'staging')")
                let system = try #require(try await store.system())
                #expect(system.version == "1" && system.environment == "staging")
                for status in [ReadinessFinding.Status.pass, .fail] {
                    var row = Self.row(status == .pass ? .simd : .chaos, status)
                    row.configurationHash = system.configurationHash
                    try await store.store(row, secret: Self.secret)
                }
                func statuses() async throws -> [String: ReadinessFinding.Status] {
                    let rows = try await store.rows().map { ($0.row, $0.row.isSealed($0.seal, by: [Self.secret])) }
                    let report = ReadinessReport(
                        rows.map { (row: $0.0, isSealed: $0.1) }, system: system, now: Timestamp(milliseconds: 0))
                    return Dictionary(
                        report.items.map { ($0.check, $0.status) }, uniquingKeysWith: { first, _ in first })
                }
                #expect(try await statuses()["simd"] == .pass)
                #expect(try await statuses()["chaos"] == .fail)
                try await pool.query("UPDATE production_readiness_matrix SET status = 'PASS'")
                #expect(try await statuses()["simd"] == .pass)
                #expect(try await statuses()["chaos"] == .pending)
                // Another instance with another configuration is another system.
                try await pool.query(
                    "INSERT INTO service_instances VALUES ('graph-builder', 'j', '1', 'g', 'staging')")
                #expect(try await store.system()?.configurationHash != system.configurationHash)
            }
        }
    }
}
