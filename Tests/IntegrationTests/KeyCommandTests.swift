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
            let rotated = try await keys("rotate", id, "--grace-seconds", "60")
            let next = try #require(rotated.firstMatch(of: /uc_([0-9a-f]{16})_/).map { String($0.output.1) })
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
                    == ["keys create \(id)", "keys rotate to \(next) \(id)", "keys revoke \(id)"])
            for telltale in ["uc_", "list", "0000000000000000"] {
                #expect(!found.contains { $0.1.contains(telltale) }, "\(telltale)")
            }
        }

        /// Seen to fail: with a transaction of its own for the row of the audit log: the key is there.
        @Test("a key that cannot be noted in the audit log is not made, and not shown")
        func together() async throws {
            let stack = try await Stack.shared()
            let connection = try await PostgresConnection.connect(
                try PostgresConfiguration(connectionString: stack.databaseURL, applicationName: "keys"))
            func run(_ statement: PostgresStatement) async throws { _ = try await connection.query(statement) }
            try await run(
                """
                CREATE FUNCTION refuse_keys() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'the log is full'; END $$
                """)
            try await run(
                """
                CREATE TRIGGER refuse_keys BEFORE INSERT ON audit_log FOR EACH ROW WHEN (NEW.action LIKE 'keys %')
                EXECUTE FUNCTION refuse_keys()
                """)
            let answer: Result<String, any Error>
            do {
                answer = .success(
                    try await stack.runToEnd(
                        "gateway", ["keys", "create", "--caller", "unnoted", "--scopes", "read"], expecting: 1))
            } catch {
                answer = .failure(error)
            }
            try await run("DROP TRIGGER refuse_keys ON audit_log")
            try await run("DROP FUNCTION refuse_keys")
            let made = try await connection.query("SELECT count(*) FROM api_keys WHERE caller = 'unnoted'")
                .column(Int64.self)
            await connection.close()
            #expect(try !answer.get().contains("uc_"))
            #expect(made == [0])
        }
    }
}
