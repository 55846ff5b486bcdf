import Postgres
import Testing

extension ProcessTests {
    @Suite("Keys by command")
    struct KeyCommands {
        @Test("who made, replaced and revoked a key by command is in the audit log, the key itself is not")
        func audited() async throws {
            let stack = try await Stack.shared()
            func keys(_ words: String...) async throws -> String {
                try await stack.runToEnd("gateway", ["keys"] + words)
            }
            let made = try await keys("create", "--caller", "audited", "--scopes", "read")
            let id = try #require(made.firstMatch(of: /uc_([0-9a-f]{16})_/).map { String($0.output.1) })
            _ = try await keys("rotate", id, "--grace-seconds", "60")
            _ = try await keys("revoke", id)
            // Looking changes nothing.
            _ = try await keys("list")
            _ = try await stack.runToEnd("gateway", ["keys", "revoke", "0000000000000000"], expecting: 1)
            let connection = try await PostgresConnection.connect(
                try PostgresConfiguration(connectionString: stack.databaseURL, applicationName: "keys"))
            let rows = try await connection.query(
                """
                SELECT a.action || ' ' || a.key_id, a::text FROM audit_log a WHERE credential = 'command' ORDER BY at, id
                """)
            let found = try rows.map { try $0.decode((String, String).self) }
            await connection.close()
            #expect(
                found.map(\.0).filter { $0.hasSuffix(id) }
                    == ["keys create \(id)", "keys rotate \(id)", "keys revoke \(id)"])
            for telltale in ["uc_", "list", "0000000000000000"] {
                #expect(!found.contains { $0.1.contains(telltale) }, "\(telltale)")
            }
        }
    }
}
