import Model
import Postgres
import TestSupport
import Testing

@Suite("Connection")
struct ConnectionTests {
    @Test("a statement returns typed rows, and a pipeline the rows of each")
    func typedRows() async throws {
        try await TestDatabase.with { database in
            try await database.withPool { pool in
                try await pool.withConnection { connection in
                    let rows = try await connection.query(
                        "SELECT $1::bigint, $2::text, $3::double precision", [7, "seven", nil])
                    let (number, text, missing) = try rows[0].decode((Int64, String, Double?).self)
                    #expect(number == 7 && text == "seven" && missing == nil)
                    let both = try await connection.pipeline([
                        PostgresQuery("SELECT count(*) FROM shard_leases"), PostgresQuery("SELECT 1::smallint"),
                    ])
                    #expect(try both[0].column(Int.self) == [64])
                    #expect(try both[1].column(Int.self) == [1])
                }
            }
        }
    }
}
