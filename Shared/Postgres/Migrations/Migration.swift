import Foundation

/// One numbered step of the schema. Once released, its text never changes.
public struct Migration: Sendable, Hashable {
    /// Grows; a gap is nothing.
    public let number: Int
    public let name: String
    let sql: String

    public init(number: Int, name: String, sql: String) {
        self.number = number
        self.name = name
        self.sql = sql
    }

    /// FNV-1a, 64 bits, of the text: tells an edited file, not an attacker.
    var checksum: Int64 {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in self.sql.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        return Int64(bitPattern: hash)
    }

    /// All of them, in order: one file each in Migrations/SQL, embedded in the program. (The generated names lose their first
    /// digit to an underscore.)
    public static let all: [Migration] = Self.released + Self.next

    private static let released: [Migration] = [
        Migration(number: 1, name: "start", embedded: PackageResources._001_start_sql),
        Migration(number: 2, name: "log-horizon", embedded: PackageResources._002_log_horizon_sql),
        Migration(number: 3, name: "rate-leases", embedded: PackageResources._003_rate_leases_sql),
        Migration(number: 4, name: "graph-history", embedded: PackageResources._004_graph_history_sql),
        Migration(number: 5, name: "snapshots", embedded: PackageResources._005_snapshots_sql),
        Migration(number: 6, name: "performance", embedded: PackageResources._006_performance_sql),
        Migration(number: 7, name: "readiness", embedded: PackageResources._007_readiness_sql),
        Migration(number: 10, name: "audit-log", embedded: PackageResources._010_audit_log_sql),
        Migration(number: 11, name: "forecasts-by-event", embedded: PackageResources._011_forecasts_by_event_sql),
        Migration(number: 12, name: "events-in-order", embedded: PackageResources._012_events_in_order_sql),
        Migration(number: 13, name: "refusals-read-only", embedded: PackageResources._013_refusals_read_only_sql),
    ]

    #if DEBUG
        /// What a next release may add, in a file: tests run programs that know it beside programs that do not. Programs built for
        /// release have no such door.
        private static let next: [Migration] = {
            guard let path = ProcessInfo.processInfo.environment["NEXT_MIGRATION_FILE"] else { return [] }
            // Reached by nobody but a test that names a file it has not written.
            guard let sql = try? String(contentsOfFile: path, encoding: .utf8) else {
                preconditionFailure("NEXT_MIGRATION_FILE cannot be read")
            }
            return [Migration(number: (Self.released.last?.number ?? 0) + 1, name: "next", sql: sql)]
        }()
    #else
        private static let next: [Migration] = []
    #endif

    private init(number: Int, name: String, embedded bytes: [UInt8]) {
        self.init(number: number, name: name, sql: String(decoding: bytes, as: UTF8.self))
    }
}
