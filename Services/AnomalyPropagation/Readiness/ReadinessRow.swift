import Crypto
import Foundation
import Model
import ServiceRuntime

/// One row of `production_readiness_matrix`.
struct ReadinessRow: Sendable, Hashable, Codable {
    var component: String
    var check: String
    var severity: ReadinessCheck.Severity
    var status: ReadinessFinding.Status
    var description: String
    var lastChecked: Timestamp
    var evidence: [String: String]
    var version: String
    var configurationHash: String
    var environment: String

    /// All of it in one order, each part with its length, so that no two rows have one text.
    private var sealed: Data {
        var parts = [
            self.component, self.check, self.severity.rawValue, self.status.rawValue, self.description,
            self.lastChecked.rfc3339, self.version, self.configurationHash, self.environment,
        ]
        for (name, value) in self.evidence.sorted(by: { $0.key < $1.key }) { parts += [name, value] }
        return Data(parts.map { "\($0.utf8.count):\($0)" }.joined().utf8)
    }

    func seal(_ secret: SymmetricKey) -> String {
        HMAC<SHA256>.authenticationCode(for: self.sealed, using: secret).hexadecimal
    }

    /// Whether both would be the same line of the matrix.
    func isSamePlace(_ other: ReadinessRow) -> Bool {
        (self.component, self.check, self.environment) == (other.component, other.check, other.environment)
    }

    func isSealed(_ seal: String, by secrets: [SymmetricKey]) -> Bool { secrets.contains { self.seal($0) == seal } }
}

/// What the evidence must be about to count: the system as it runs now.
struct RunningSystem: Sendable, Hashable {
    var version: String
    var configurationHash: String
    var environment: String
}

extension ReadinessRow {
    /// Evidence counts for this long.
    static let longestAgeDays: Int64 = 7

    /// How the row counts now. Old evidence and evidence about another version or configuration are WARN. A row that no run has
    /// written is PENDING, so that writing to the table by hand clears no failure.
    func standing(
        isSealed: Bool, for system: RunningSystem?, now: Timestamp
    ) -> (status: ReadinessFinding.Status, note: String?) {
        guard isSealed else { return (.pending, "no run of the checks has written this row as it stands") }
        guard self.status == .pass else { return (self.status, nil) }
        if let system, system.version != self.version { return (.warn, "it is about version \(self.version)") }
        if let system, system.configurationHash != self.configurationHash {
            return (.warn, "it is about another configuration")
        }
        let age = now.milliseconds - self.lastChecked.milliseconds
        guard age <= Self.longestAgeDays * 86_400_000 else {
            return (.warn, "it is older than \(Self.longestAgeDays) days")
        }
        return (.pass, nil)
    }
}

/// All rows as they count now.
struct ReadinessReport: Encodable, Sendable {
    struct Item: Encodable, Sendable {
        var component: String
        var check: String
        var severity: ReadinessCheck.Severity
        var status: ReadinessFinding.Status
        var description: String
        var lastChecked: Timestamp?
        var evidence: [String: String]
        var version: String?
        var configurationHash: String?
        var environment: String?
        /// Why a PASS does not count.
        var note: String?
    }

    struct Summary: Encodable, Sendable {
        var total: Int
        var passed: Int
        /// CRITICAL checks that failed, or that no run has made.
        var blockers: Int
        /// Percent passed.
        var compliance: Double
    }

    var summary: Summary
    var items: [Item]

    /// - Parameter rows: with whether each is sealed; of several environments the best evidence of a check counts.
    init(_ rows: [(row: ReadinessRow, isSealed: Bool)], system: RunningSystem?, now: Timestamp) {
        let order: [ReadinessFinding.Status] = [.pass, .warn, .fail, .pending]
        self.items = ReadinessCheck.allCases.map { check in
            let found = rows.filter { $0.row.check == check.rawValue && $0.row.component == ReadinessCheck.component }
                .map { row, isSealed in
                    (row: row, isSealed: isSealed, standing: row.standing(isSealed: isSealed, for: system, now: now))
                }
            // What this environment could not try may have been tried in another; what it saw fail is not outweighed, nor is a row
            // of its own that somebody changed, for it may have been a failure.
            let own = found.first {
                $0.row.environment == system?.environment && ($0.standing.status == .fail || !$0.isSealed)
            }
            let best =
                own
                ?? found.min { left, right in
                    (order.firstIndex(of: left.standing.status) ?? 9)
                        < (order.firstIndex(of: right.standing.status) ?? 9)
                }
            guard let best else {
                return Item(
                    component: ReadinessCheck.component, check: check.rawValue, severity: check.severity,
                    status: .pending, description: check.description, evidence: [:], note: "no run has made it")
            }
            return Item(
                component: best.row.component, check: best.row.check, severity: best.row.severity,
                status: best.standing.status, description: best.row.description, lastChecked: best.row.lastChecked,
                evidence: best.row.evidence, version: best.row.version, configurationHash: best.row.configurationHash,
                environment: best.row.environment, note: best.standing.note)
        }
        let passed = self.items.count { $0.status == .pass }
        self.summary = Summary(
            total: self.items.count, passed: passed,
            blockers: self.items.count {
                $0.severity == .critical && ($0.status == .fail || $0.status == .pending)
            }, compliance: (1_000 * Double(passed) / Double(max(1, self.items.count))).rounded() / 10)
    }
}
