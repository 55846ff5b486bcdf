import Model
import Testing

@testable import Postgres

@Suite("Errors")
struct ErrorTests {
    /// One state or more of every class of PostgreSQL's appendix A that a client can meet, and what the caller should do.
    static let table: [(state: String, code: PostgresError.Code, severity: PostgresError.Severity)] = [
        ("08000", .connectionLost, .retryNow), ("08001", .unavailable, .retryLater),
        ("08003", .connectionLost, .retryNow), ("08004", .unavailable, .retryLater),
        ("08006", .connectionLost, .retryNow), ("0A000", .invalidStatement, .never), ("21000", .other, .never),
        ("22003", .invalidData, .never), ("22P02", .invalidData, .never), ("23502", .constraintViolation, .never),
        ("23503", .constraintViolation, .never), ("23505", .uniqueViolation, .never),
        ("23514", .constraintViolation, .never), ("24000", .other, .never), ("25001", .other, .never),
        ("25006", .readOnly, .retryLater), ("25P02", .other, .never), ("25P03", .connectionLost, .retryNow),
        ("26000", .staleStatement, .retryNow), ("28000", .forbidden, .never), ("28P01", .forbidden, .never),
        ("34000", .other, .never), ("3D000", .schemaMismatch, .never), ("3F000", .schemaMismatch, .never),
        ("40001", .serialization, .retryNow), ("40003", .connectionLost, .retryNow), ("40P01", .deadlock, .retryNow),
        ("42501", .forbidden, .never), ("42601", .invalidStatement, .never), ("42703", .schemaMismatch, .never),
        ("42P01", .schemaMismatch, .never), ("53100", .outOfResources, .retryLater),
        ("53200", .outOfResources, .retryLater), ("53300", .outOfResources, .retryLater),
        ("54000", .other, .never), ("55006", .lockNotAvailable, .retryLater), ("55P03", .lockNotAvailable, .retryLater),
        ("57014", .timeout, .retryLater), ("57P01", .connectionLost, .retryNow),
        ("57P02", .connectionLost, .retryNow), ("57P03", .unavailable, .retryLater),
        ("57P04", .unavailable, .retryLater), ("57P05", .connectionLost, .retryNow),
        ("58030", .outOfResources, .retryLater), ("72000", .serialization, .retryNow), ("F0000", .other, .never),
        ("P0001", .other, .never), ("XX000", .other, .never), ("XX001", .other, .never),
    ]

    @Test("every class of SQLSTATE has one code and one of three severities", arguments: table.indices)
    func severities(index: Int) {
        let (state, code, severity) = Self.table[index]
        let error = PostgresError(sqlState: state, constraint: nil, detail: "secret words")
        #expect(error.code == code)
        #expect(error.severity == severity)
        #expect((error.retryAfterSeconds == nil) == (severity == .never))
        #expect(!error.description.contains("secret"))
        #expect(error.debugDescription.contains("secret words") && error.debugDescription.contains(state))
        #expect(!Problem(error).detail.contains("secret"))
    }

    @Test("a refused connection is judged by the SQLSTATE in libpq's verbose words, in any language")
    func refusals() {
        func refusal(_ words: String) -> PostgresError {
            Session.refusal("connection to server at \"h\" failed: " + words)
        }
        #expect(refusal("FATAL:  53300: sorry, too many clients already").code == .outOfResources)
        #expect(refusal("FATAL:  28P01: password authentication failed").code == .forbidden)
        #expect(refusal("FATALE:  3D000: la base non esiste").code == .forbidden)
        #expect(refusal("FATAL:  57P03: the database system is starting up").code == .unavailable)
        #expect(refusal("FATAL:  57P01: terminating connection").code == .unavailable)
        #expect(refusal("Connection refused").code == .unavailable)
        #expect(refusal("SSL error: certificate verify failed").code == .forbidden)
        #expect(Session.sqlState(inVerbose: "host \"::1\", port 54321: Connection refused") == nil)
    }
}
