import Logging
import Model
import TestSupport
import Testing

@testable import Postgres

@Suite("Connection")
struct ConnectionTests {
    @Test("every type goes to the server and comes back the same")
    func roundTrips() async throws {
        try await TestDatabase.with(migrated: false) { database in
            try await database.withConnection { connection in
                let time = Timestamp(milliseconds: -1_234_567_891)
                let rows = try await connection.query(
                    """
                    SELECT $1::smallint, $2::integer, $3::bigint, $4::real, $5::double precision, $6::boolean, $7::text,
                           $8::bytea, $9::timestamptz, $10::jsonb, $11::text
                    """,
                    [
                        .int16(-7), .int32(70_000), .int64(.min), .float(1.5), .double(-.infinity), true, "naïve 🐙",
                        .bytea([0, 255, 7]), .timestamp(time), .jsonb("{\"a\": [1]}"), nil,
                    ])
                let row = rows[0]
                #expect(try row.decode(Int16.self, at: 0) == -7)
                #expect(try row.decode(Int32.self, at: 1) == 70_000)
                #expect(try row.decode(Int64.self, at: 2) == .min)
                #expect(try row.decode(Float.self, at: 3) == 1.5)
                #expect(try row.decode(Double.self, at: 4) == -.infinity)
                #expect(try row.decode(Bool.self, at: 5))
                #expect(try row.decode(String.self, at: 6) == "naïve 🐙")
                #expect(try row.decode([UInt8].self, at: 7) == [0, 255, 7])
                #expect(try row.decode(Timestamp.self, at: 8) == time)
                #expect(try row.decode(PostgresJSON<[String: [Int]]>.self, at: 9).value == ["a": [1]])
                #expect(try row.decode(String?.self, at: 10) == nil)
            }
        }
    }

    @Test("arrays go to the server and come back the same, with and without gaps")
    func arrays() async throws {
        try await TestDatabase.with(migrated: false) { database in
            try await database.withConnection { connection in
                let rows = try await connection.query(
                    "SELECT $1::bigint[], $2::text[], $3::double precision[], $4::timestamptz[], $5::double precision[], $6::bigint[]",
                    [
                        .int64Array([1, -2]), .textArray(["a", ""]), .doubleArray([.nan, 0.5]),
                        .timestampArray([Timestamp(milliseconds: 0)]), .optionalDoubleArray([nil, 2]),
                        .int64Array([]),
                    ])
                #expect(try rows[0].decode([Int64].self, at: 0) == [1, -2])
                #expect(try rows[0].decode([String].self, at: 1) == ["a", ""])
                #expect(try rows[0].decode([Double].self, at: 2)[0].isNaN)
                #expect(try rows[0].decode([Timestamp].self, at: 3) == [Timestamp(milliseconds: 0)])
                #expect(try rows[0].decode([Double?].self, at: 4) == [nil, 2])
                #expect(try rows[0].decode([Int64].self, at: 5) == [])
            }
        }
    }

    @Test("long arrays of doubles and times are read in one go; nulls and other types are malformed rows")
    func longArrays() async throws {
        try await TestDatabase.with(migrated: false) { database in
            try await database.withConnection { connection in
                let times = [Timestamp(milliseconds: -5), Timestamp(milliseconds: 1_600_000_000_123)]
                let row = try await connection.query(
                    "SELECT $1::float8[], $2::timestamptz[], $3::float8[], $4::float8[], '{{1,2},{3,4}}'::float8[], NULL::float8[]",
                    [
                        .doubleArray([0.1, -.infinity, 3]), .timestampArray(times), .doubleArray([]),
                        .optionalDoubleArray([nil, 2]),
                    ])[0]
                #expect(try row.decode(PostgresDoubles.self, at: 0).values == [0.1, -.infinity, 3])
                #expect(try row.decode(PostgresTimes.self, at: 1).milliseconds == [-5, 1_600_000_000_123])
                #expect(try row.decode(PostgresDoubles.self, at: 2).values == [])
                for column in [1, 3, 4, 5] {
                    #expect(throws: PostgresError(.malformedRow, detail: "")) {
                        try row.decode(PostgresDoubles.self, at: column)
                    }
                }
            }
        }
    }

    @Test("a type or a number of columns that differs is a malformed row, not a wrong value")
    func malformedRows() async throws {
        try await TestDatabase.with(migrated: false) { database in
            try await database.withConnection { connection in
                let rows = try await connection.query("SELECT 1::bigint AS a, 'x'::text AS b")
                #expect(throws: PostgresError(.malformedRow, detail: "")) { try rows[0].decode(String.self, at: 0) }
                #expect(throws: PostgresError(.malformedRow, detail: "")) { try rows[0].decode((Int64).self) }
                #expect(throws: PostgresError(.malformedRow, detail: "")) {
                    try rows[0].decode((Int64, String, Int64).self)
                }
                #expect(try rows[0].decode(String.self, named: "b") == "x")
            }
        }
    }

    @Test("a pipeline is one transaction: the first failure undoes the rest and is the one thrown")
    func pipelineFailure() async throws {
        try await TestDatabase.with(migrated: false) { database in
            try await database.withConnection { connection in
                try await connection.runScript("CREATE TABLE t (n bigint PRIMARY KEY)")
                let insert: PostgresStatement = "INSERT INTO t VALUES ($1)"
                await #expect(throws: PostgresError(.uniqueViolation, sqlState: "23505", detail: "")) {
                    _ = try await connection.pipeline([
                        PostgresQuery(insert, [1]), PostgresQuery(insert, [1]), PostgresQuery("SELECT 1/0"),
                    ])
                }
                #expect(try await connection.query("SELECT count(*) FROM t").column(Int.self) == [0])
                let many = (0..<500).map { PostgresQuery(insert, [.int($0)]) }
                #expect(try await connection.pipeline(many).count == 500)
                #expect(try await connection.query("SELECT count(*) FROM t").column(Int.self) == [500])
            }
        }
    }

    @Test("prepared statements are bounded")
    func statementCache() async throws {
        try await TestDatabase.with(migrated: false) { database in
            var configuration = database.configuration
            configuration.preparedStatementLimit = 2
            let connection = try await PostgresConnection.connect(configuration)
            for round in 0..<40 {
                let statements: [PostgresStatement] = ["SELECT 1", "SELECT 2", "SELECT 3", "SELECT 4"]
                try await connection.query(statements[round % 4])
            }
            let kept = try await connection.query("SELECT count(*) FROM pg_prepared_statements").column(Int.self)
            #expect(kept[0] <= 2 + 16 + 1)
            await connection.close()
        }
    }

    @Test("COPY in and out keep special doubles and every row, over many chunks")
    func copy() async throws {
        try await TestDatabase.with(migrated: false) { database in
            try await database.withConnection { connection in
                try await connection.runScript("CREATE TABLE c (n bigint, v double precision, t text)")
                let special: [Double] = [
                    .nan, .infinity, -.infinity, -0.0, .leastNonzeroMagnitude, .greatestFiniteMagnitude, 0.1,
                ]
                let count = 20_000
                let stored = try await connection.copyIn("COPY c FROM STDIN (FORMAT binary)") {
                    (writer) throws(PostgresError) in
                    for index in 0..<count {
                        try writer.beginRow(columns: 3)
                        writer.int64(Int64(index))
                        writer.double(special[index % special.count])
                        if index % 3 == 0 { writer.null() } else { writer.text("row \(index) ü") }
                    }
                }
                #expect(stored == count)
                nonisolated(unsafe) var good = 0
                let read = try await connection.copyOut("COPY (SELECT * FROM c ORDER BY n) TO STDOUT (FORMAT binary)") {
                    (row) throws(PostgresError) in
                    let index = Int(try row.int64())
                    let value = try row.double()
                    let text: String? = row.skipNull() ? nil : try row.text()
                    let expected: String? = index % 3 == 0 ? nil : "row \(index) ü"
                    if value.bitPattern == special[index % special.count].bitPattern, text == expected { good += 1 }
                }
                #expect(read == count && good == count)
            }
        }
    }

    @Test("a COPY that fails here or there stores nothing and leaves the connection usable")
    func copyFailures() async throws {
        try await TestDatabase.with(migrated: false) { database in
            try await database.withConnection { connection in
                try await connection.runScript("CREATE TABLE c (n bigint PRIMARY KEY)")
                func copy(_ body: @escaping @Sendable (Int64) throws(PostgresError) -> Int64) async throws {
                    try await connection.copyIn("COPY c FROM STDIN (FORMAT binary)") { (writer) throws(PostgresError) in
                        for index in 0..<50_000 {
                            try writer.beginRow(columns: 1)
                            writer.int64(try body(Int64(index)))
                        }
                    }
                }
                await #expect(throws: PostgresError(.uniqueViolation, sqlState: "23505", detail: "")) {
                    try await copy { (index) throws(PostgresError) in index % 49_000 }
                }
                await #expect(throws: PostgresError(.limitReached, detail: "")) {
                    try await copy { (index) throws(PostgresError) in
                        guard index < 30_000 else { throw PostgresError(.limitReached, detail: "enough") }
                        return index
                    }
                }
                await #expect(throws: PostgresError(.schemaMismatch, sqlState: "42P01", detail: "")) {
                    try await connection.copyIn("COPY missing FROM STDIN (FORMAT binary)") { _ in }
                }
                #expect(try await connection.query("SELECT count(*) FROM c").column(Int.self) == [0])
            }
        }
    }
}
