import CLibpq
import Model

/// What a C program would do: one connection, one prepared statement, blocking calls, binary in and out. The yardstick for what
/// the client adds.
///
/// `@unchecked Sendable`: used by one thread at a time.
final class RawConnection: @unchecked Sendable {
    private let pointer: OpaquePointer

    init(_ url: String, prepare statement: String) throws {
        guard let pointer = PQconnectdb(url), PQstatus(pointer) == CONNECTION_OK else {
            throw WrongAnswer(description: "libpq does not connect")
        }
        self.pointer = pointer
        let types: [Oid] = [20]
        let result = PQprepare(pointer, "raw", statement, 1, types)
        defer { PQclear(result) }
        guard PQresultStatus(result) == PGRES_COMMAND_OK else {
            throw WrongAnswer(description: "libpq does not prepare")
        }
    }

    deinit { PQfinish(self.pointer) }

    /// - Returns: the single double of the row of that number.
    func query(_ id: Int64) throws -> Double {
        var key = id.bigEndian
        let result = withUnsafeBytes(of: &key) { bytes in
            let values: [UnsafePointer<CChar>?] = [bytes.baseAddress?.assumingMemoryBound(to: CChar.self)]
            return PQexecPrepared(self.pointer, "raw", 1, values, [8], [1], 1)
        }
        defer { PQclear(result) }
        guard PQresultStatus(result) == PGRES_TUPLES_OK, let value = PQgetvalue(result, 0, 0) else {
            throw WrongAnswer(description: "libpq does not answer")
        }
        return Double(bitPattern: UInt64(bigEndian: UnsafeRawPointer(value).loadUnaligned(as: UInt64.self)))
    }
}
