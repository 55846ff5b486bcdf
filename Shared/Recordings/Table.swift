import Model

/// A small CSV table with a fixed header.
enum Table {
    /// Rows read at most; label files have dozens.
    static let rowLimit = 100_000

    struct Row {
        let columns: [String]
        let fields: [String]

        subscript(index: Int) -> String { self.fields[index] }

        func integer(_ index: Int) throws(ValidationError) -> Int64 {
            guard let value = Int64(self.fields[index]) else {
                throw ValidationError(field: self.columns[index], rule: "must be an integer")
            }
            return value
        }

        func time(_ index: Int) throws(ValidationError) -> Timestamp {
            let time = Timestamp(milliseconds: try self.integer(index))
            guard time.isRepresentable else {
                throw ValidationError(field: self.columns[index], rule: "must lie between the years 1 and 9999")
            }
            return time
        }
    }

    static func rows<Element>(
        at path: String, columns: String, _ decode: (Row) throws(ValidationError) -> Element
    ) throws(RecordingError) -> [Element] {
        let lines = try LineReader(path: path)
        let header = try lines.next().map { String(decoding: $0.prefix(300), as: UTF8.self) } ?? "an empty file"
        guard header == columns else {
            throw RecordingError(path: path, reason: .header(expected: columns, found: header))
        }
        let names = columns.split(separator: ",").map(String.init)
        var rows: [Element] = []
        while let line = try lines.next() {
            func bad(_ rule: String) -> RecordingError {
                RecordingError(path: path, reason: .row(line: lines.line, rule: rule))
            }
            guard rows.count < Self.rowLimit else { throw bad("the table has more than \(Self.rowLimit) rows") }
            guard let fields = CommaFields.split(line) else { throw bad("a quote is not closed") }
            guard fields.count == names.count else {
                throw bad("must have \(names.count) columns, has \(fields.count)")
            }
            let texts = fields.compactMap(CommaFields.text)
            guard texts.count == fields.count else { throw bad("must be UTF-8") }
            do throws(ValidationError) {
                rows.append(try decode(Row(columns: names, fields: texts)))
            } catch {
                throw bad(error.description)
            }
        }
        return rows
    }
}
