import Foundation
import Postgres

/// Makes whoever writes a table wait in the middle of its transaction, so that a kill lands exactly there.
struct HoldPoint {
    private static let lock = 4712
    let evidence: Evidence

    /// - Parameter tables: where it can be told to wait.
    static func install(_ evidence: Evidence, tables: [String]) async throws -> HoldPoint {
        var text = """
            CREATE TABLE held (place text);
            CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF EXISTS (SELECT FROM held WHERE place = TG_TABLE_NAME) THEN
                    PERFORM pg_advisory_xact_lock_shared(\(Self.lock));
                END IF;
                RETURN NULL;
            END $$;
            """
        for table in tables {
            text +=
                "CREATE TRIGGER hold BEFORE INSERT OR UPDATE ON \(table) FOR EACH STATEMENT EXECUTE FUNCTION hold();"
        }
        try await evidence.script(text)
        return HoldPoint(evidence: evidence)
    }

    /// Runs `kill` while a writer of the table waits before its first row; what waited does not go on afterwards.
    /// - Returns: false when nobody wrote the table in time; then nothing is killed.
    func whileHeld(_ table: String, seconds: Double, kill: () async throws -> Void) async throws -> Bool {
        let wasHeld = try await self.evidence.connected { holder in
            try await holder.runScript(PostgresStatement(composed: "SELECT pg_advisory_lock(\(Self.lock))"))
            try await self.evidence.script("INSERT INTO held VALUES ('\(table)')")
            do {
                try await self.evidence.stack.eventually("somebody waits", seconds: seconds) {
                    try await !self.waiting().isEmpty
                }
            } catch is RunningProgram.Failure { return false }
            try await kill()
            // The server's end of a killed program would go on as soon as it can.
            try? await self.endWaiting()
            return true
        }
        try await self.evidence.stack.eventually("the server is there") {
            try await self.evidence.script("DELETE FROM held")
            return true
        }
        return wasHeld
    }

    private func waiting() async throws -> [Int32] {
        try await self.evidence.connected { connection in
            try await connection.query(
                "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = $1 AND NOT granted", [.int(Self.lock)]
            ).column(Int32.self)
        }
    }

    private func endWaiting() async throws {
        try await self.evidence.connected { connection in
            _ = try await connection.query(
                """
                SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = $1 AND NOT granted
                """, [.int(Self.lock)])
        }
    }
}
