import TestSupport
import Testing

@testable import Postgres

@Suite("COPY streams")
struct CopyStreamTests {
    @Test("rows written and read piece by piece from asynchronous code are all there, in order")
    func roundTrip() async throws {
        try await TestDatabase.with(migrated: false) { database in
            try await database.withConnection { connection in
                try await connection.runScript("CREATE TABLE c (n bigint, t text)")
                let stored = try await connection.copyInStream("COPY c FROM STDIN (FORMAT binary)") { stream in
                    for piece in 0..<40 {
                        await Task.yield()
                        try await stream.write { (rows) throws(PostgresError) in
                            for index in 0..<1_000 {
                                try rows.beginRow(columns: 2)
                                rows.int64(Int64(piece * 1_000 + index))
                                rows.text("row \(index)")
                            }
                        }
                    }
                }
                #expect(stored == 40_000)
                let query: PostgresStatement = "COPY (SELECT * FROM c ORDER BY n) TO STDOUT (FORMAT binary)"
                let (rows, largest) = try await connection.copyOutStream(query) { stream in
                    var next: Int64 = 0
                    var largest = 0
                    for try await batch in stream {
                        largest = max(largest, batch.rowCount)
                        try batch.forEachRow { (row) throws(PostgresError) in
                            let (number, text) = (try row.int64(), try row.text())
                            #expect(number == next && text == "row \(next % 1_000)")
                            next += 1
                        }
                    }
                    return (next, largest)
                }
                #expect(rows == 40_000)
                // 64 KiB of rows of some 25 bytes each: nobody held the whole table.
                #expect(largest < 4_000)
                let empty = try await connection.copyOutStream("COPY (SELECT 1 WHERE false) TO STDOUT (FORMAT binary)")
                {
                    stream in try await stream.reduce(0) { $0 + $1.rowCount }
                }
                #expect(empty == 0)
            }
        }
    }

    @Test("a source or a reader that stops early stores nothing, stops the server, and leaves the connection usable")
    func stopsEarly() async throws {
        struct Enough: Error {}
        try await TestDatabase.with(migrated: false) { database in
            try await database.withConnection { connection in
                try await connection.runScript("CREATE TABLE c (n bigint)")
                await #expect(throws: Enough.self) {
                    try await connection.copyInStream("COPY c FROM STDIN (FORMAT binary)") { stream in
                        try await stream.write { (rows) throws(PostgresError) in
                            try rows.beginRow(columns: 1)
                            rows.int64(1)
                        }
                        // Nothing else can use the connection meanwhile.
                        await #expect(throws: PostgresError(.invalidStatement, detail: "")) {
                            try await connection.query("SELECT 1")
                        }
                        throw Enough()
                    }
                }
                #expect(try await connection.query("SELECT count(*) FROM c").column(Int.self) == [0])
                let clock = ContinuousClock()
                let start = clock.now
                let rows = try await connection.copyOutStream(
                    "COPY (SELECT generate_series(1, 200000000)) TO STDOUT (FORMAT binary)"
                ) { stream in
                    for try await batch in stream { return batch.rowCount }
                    return 0
                }
                #expect(rows > 0)
                #expect(clock.now - start < .seconds(10))
                #expect(try await connection.query("SELECT 1::bigint").column(Int.self) == [1])
                await #expect(throws: PostgresError(.uniqueViolation, sqlState: "23505", detail: "")) {
                    try await connection.runScript("CREATE UNIQUE INDEX ON c (n)")
                    try await connection.copyInStream("COPY c FROM STDIN (FORMAT binary)") { stream in
                        for _ in 0..<2 {
                            try await stream.write { (rows) throws(PostgresError) in
                                try rows.beginRow(columns: 1)
                                rows.int64(7)
                            }
                        }
                    }
                }
                #expect(try await connection.query("SELECT 1::bigint").column(Int.self) == [1])
            }
        }
    }

    @Test("a server that does not take rows holds the source back until the deadline, with bounded memory")
    func backPressure() async throws {
        try await TestDatabase.with(migrated: false) { database in
            try await database.withConnection { blocker in
                try await blocker.runScript("CREATE TABLE c (n bigint); BEGIN; LOCK TABLE c IN ACCESS EXCLUSIVE MODE")
                try await database.withConnection { connection in
                    // The lock holds up the COPY itself; a trigger holds it up row by row, after it began.
                    try await blocker.runScript(
                        """
                        CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
                            'BEGIN PERFORM pg_sleep(0.05); RETURN NEW; END';
                        CREATE TRIGGER slow BEFORE INSERT ON c FOR EACH ROW EXECUTE FUNCTION slow(); COMMIT
                        """)
                    let deadline = ContinuousClock.now + .milliseconds(700)
                    nonisolated(unsafe) var pieces = 0
                    let error = await #expect(throws: PostgresError.self) {
                        try await connection.copyInStream("COPY c FROM STDIN (FORMAT binary)", deadline: deadline) {
                            stream in
                            while pieces < 100_000 {
                                try await stream.write { (rows) throws(PostgresError) in
                                    for index in 0..<4_000 {
                                        try rows.beginRow(columns: 1)
                                        rows.int64(Int64(index))
                                    }
                                }
                                pieces += 1
                            }
                        }
                    }
                    #expect(error?.code == .timeout)
                    // 56 KiB each: only what fits into the sockets has left.
                    #expect(pieces < 64)
                }
                #expect(try await blocker.query("SELECT count(*) FROM c").column(Int.self) == [0])
            }
        }
    }
}
