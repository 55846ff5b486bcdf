import CLibpq
import Glibc

/// Sending and receiving on a non-blocking `PGconn`.
extension Session {
    /// Pushes buffered output to the server, reading meanwhile so that neither side waits for the other for ever.
    func flush(_ operation: inout Operation) throws(PostgresError) {
        while true {
            let left = PQflush(self.pointer)
            if left == 0 { return }
            guard left > 0 else { throw self.lost("PQflush") }
            try self.wait(for: POLLIN | POLLOUT, &operation)
            guard PQconsumeInput(self.pointer) == 1 else { throw self.lost("PQconsumeInput") }
        }
    }

    /// The next result; nil at the end of one command's results.
    func nextResult(_ operation: inout Operation) throws(PostgresError) -> OpaquePointer? {
        while PQisBusy(self.pointer) == 1 {
            try self.wait(for: POLLIN, &operation)
            guard PQconsumeInput(self.pointer) == 1 else { throw self.lost("PQconsumeInput") }
        }
        return PQgetResult(self.pointer)
    }

    /// What the server said in an error result. A server that is going away ends with an error and then the connection.
    func failure(_ result: OpaquePointer, _ operation: Operation) -> PostgresError {
        let detail = PQresultErrorMessage(result).map { String(cString: $0).trimmingNewlines } ?? ""
        func field(_ code: UnicodeScalar) -> String? {
            PQresultErrorField(result, CInt(code.value)).map { String(cString: $0) }
        }
        guard let sqlState = field("C") else {
            return PostgresError(self.isBroken ? .connectionLost : .other, detail: detail)
        }
        if sqlState == "57014", let reason = operation.stopReason {
            return PostgresError(reason, sqlState: sqlState, detail: detail)
        }
        return PostgresError(sqlState: sqlState, constraint: field("n"), detail: detail)
    }

    /// Runs a text without parameters, possibly several statements; the results of the last one count.
    func runSimple(_ text: String, _ operation: inout Operation) throws(PostgresError) -> PostgresRows? {
        guard PQsendQuery(self.pointer, text) == 1 else { throw self.lost("PQsendQuery") }
        try self.flush(&operation)
        var failure: PostgresError?
        var rows: PostgresRows?
        while let result = try self.nextResult(&operation) {
            switch PQresultStatus(result) {
            case PGRES_TUPLES_OK, PGRES_COMMAND_OK, PGRES_EMPTY_QUERY: rows = PostgresRows(result: ResultHandle(result))
            case PGRES_COPY_IN, PGRES_COPY_OUT, PGRES_COPY_BOTH:
                PQclear(result)
                throw self.abandonCopy()
            default:
                if failure == nil { failure = self.failure(result, operation) }
                PQclear(result)
            }
        }
        if let failure { throw failure }
        return rows
    }

    /// COPY sent through the wrong call would leave the connection in copy mode; it cannot be used again.
    func abandonCopy() -> PostgresError {
        self.giveUp()
        return PostgresError(.connectionLost, detail: "COPY must go through copyIn or copyOut")
    }

    /// One cheap statement, for a signal that was meant for an operation that had already ended.
    func absorbLateCancel() {
        var operation = Operation(
            ticket: 0, deadline: ContinuousClock.now + .seconds(1), heedsCancellation: false)
        for _ in 0..<2 {
            do {
                _ = try self.runSimple("SELECT 1", &operation)
                return
            } catch {
                // Anything but the late signal: a failed transaction answers too, a silent server does not.
                if error.sqlState == nil || operation.stopReason != nil { return self.giveUp() }
                if error.sqlState != "57014" { return }
            }
        }
    }
}
