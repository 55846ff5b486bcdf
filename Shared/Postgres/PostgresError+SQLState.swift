extension PostgresError.Code {
    /// The one table from SQLSTATE to code (PostgreSQL documentation, appendix A). `.staleStatement` for 0A000 needs more than the
    /// state and is decided where the statement is known.
    init(sqlState: String) {
        self = Self.states[sqlState] ?? Self.classes[String(sqlState.prefix(2))] ?? .other
    }

    private static let states: [String: PostgresError.Code] = [
        "08001": .unavailable, "08004": .unavailable,
        "0A000": .invalidStatement,
        "23505": .uniqueViolation,
        "25006": .readOnly, "25P03": .connectionLost,
        "26000": .staleStatement,
        "3D000": .schemaMismatch, "3F000": .schemaMismatch,
        "40001": .serialization, "40P01": .deadlock, "40003": .connectionLost,
        "42501": .forbidden,
        "42P01": .schemaMismatch, "42703": .schemaMismatch, "42704": .schemaMismatch, "42883": .schemaMismatch,
        "55P03": .lockNotAvailable, "55006": .lockNotAvailable,
        "57014": .timeout,
        "57P01": .connectionLost, "57P02": .connectionLost, "57P05": .connectionLost,
        "57P03": .unavailable, "57P04": .unavailable,
        "72000": .serialization,
    ]

    private static let classes: [String: PostgresError.Code] = [
        "08": .connectionLost,
        "22": .invalidData,
        "23": .constraintViolation,
        "28": .forbidden,
        "40": .serialization,
        "42": .invalidStatement,
        "53": .outOfResources,
        "58": .outOfResources,
    ]
}
