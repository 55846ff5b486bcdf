import CLibpq

/// The complete result of one statement: rows in memory, decoded on demand.
public struct PostgresRows: RandomAccessCollection, Sendable {
    let result: ResultHandle

    public var startIndex: Int { 0 }
    public var endIndex: Int { self.result.rowCount }
    public subscript(position: Int) -> PostgresRow { PostgresRow(result: self.result, index: position) }

    /// Rows an INSERT, UPDATE, DELETE, COPY or SELECT touched.
    public var affectedRows: Int { self.result.affectedRows }

    /// Every row as a tuple: `try rows.decode((Int64, String?).self)`.
    public func decode<each Value: PostgresDecodable>(
        _ type: (repeat each Value).Type = (repeat each Value).self
    ) throws(PostgresError) -> [(repeat each Value)] {
        var decoded: [(repeat each Value)] = []
        decoded.reserveCapacity(self.count)
        for row in self { decoded.append(try row.decode(type)) }
        return decoded
    }

    /// The first column of every row.
    public func column<Value: PostgresDecodable>(_ type: Value.Type = Value.self) throws(PostgresError) -> [Value] {
        var decoded: [Value] = []
        decoded.reserveCapacity(self.count)
        for row in self { decoded.append(try row.decode(Value.self, at: 0)) }
        return decoded
    }
}

/// One row; valid as long as it is held.
public struct PostgresRow: Sendable {
    let result: ResultHandle
    let index: Int

    /// The columns in order as a tuple: `let (id, name) = try row.decode((Int64, String).self)`.
    /// - Throws: `.malformedRow` when the number of columns or a type differs.
    public func decode<each Value: PostgresDecodable>(
        _ type: (repeat each Value).Type = (repeat each Value).self
    ) throws(PostgresError) -> (repeat each Value) {
        var column = 0
        func next<Column: PostgresDecodable>(_ type: Column.Type) throws(PostgresError) -> Column {
            defer { column += 1 }
            return try self.decode(type, at: column)
        }
        let values = (repeat try next((each Value).self))
        guard column == self.result.columnCount else {
            throw PostgresError(
                .malformedRow, detail: "\(self.result.columnCount) columns came, \(column) were asked for")
        }
        return values
    }

    public func decode<Value: PostgresDecodable>(
        _ type: Value.Type = Value.self, at column: Int
    ) throws(PostgresError) -> Value {
        guard column < self.result.columnCount else {
            throw PostgresError(.malformedRow, detail: "column \(column) of \(self.result.columnCount) was asked for")
        }
        return try self.result.withCell(row: self.index, column: column) { (cell) throws(PostgresError) in
            try Value.decode(cell)
        }
    }

    public func decode<Value: PostgresDecodable>(
        _ type: Value.Type = Value.self, named name: String
    ) throws(PostgresError) -> Value {
        guard let column = self.result.column(named: name) else {
            throw PostgresError(.malformedRow, detail: "there is no column \(name)")
        }
        return try self.decode(type, at: column)
    }
}

/// Owns a `PGresult`.
///
/// `@unchecked Sendable`: libpq never changes a result after handing it out and documents reading one as safe from several
/// threads; it is freed once, when the last reference goes.
final class ResultHandle: @unchecked Sendable {
    private let pointer: OpaquePointer
    let rowCount: Int
    let columnCount: Int

    init(_ pointer: OpaquePointer) {
        self.pointer = pointer
        self.rowCount = Int(PQntuples(pointer))
        self.columnCount = Int(PQnfields(pointer))
    }

    deinit { PQclear(self.pointer) }

    var affectedRows: Int { PQcmdTuples(self.pointer).flatMap { Int(String(cString: $0)) } ?? 0 }

    /// Whether this is the answer to a COMMIT (or its kin) that took effect.
    var endedTransaction: Bool {
        guard self.columnCount == 0, let tag = PQcmdStatus(self.pointer) else { return false }
        let text = String(cString: tag)
        return text == "COMMIT" || text == "PREPARE TRANSACTION" || text == "COMMIT PREPARED"
    }

    func column(named name: String) -> Int? {
        (0..<self.columnCount).first { self.name(ofColumn: $0) == name }
    }

    private func name(ofColumn column: Int) -> String {
        PQfname(self.pointer, Int32(column)).map { String(cString: $0) } ?? "?"
    }

    func withCell<Value>(
        row: Int, column: Int, _ body: (PostgresCell) throws(PostgresError) -> Value
    ) throws(PostgresError) -> Value {
        let (row, column32) = (Int32(row), Int32(column))
        var bytes: UnsafeRawBufferPointer?
        if PQgetisnull(self.pointer, row, column32) == 0 {
            bytes = UnsafeRawBufferPointer(
                start: PQgetvalue(self.pointer, row, column32), count: Int(PQgetlength(self.pointer, row, column32)))
        }
        let value = try body(
            PostgresCell(
                type: PQftype(self.pointer, column32), bytes: bytes, columnName: PQfname(self.pointer, column32)))
        withExtendedLifetime(self) {}
        return value
    }
}
