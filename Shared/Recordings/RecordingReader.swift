import Model

/// Reads a recording row by row: CSV or gzip CSV with the columns `ts,node,domain,event,market,venue,value`.
///
/// `ts` is epoch milliseconds; `node` is `event|market|venue` and is not read further; `value` is a finite decimal number.
/// Names are checked by the rule of ``Name``. Memory is bounded by the number of different nodes, not by the file.
/// Not Sendable: one task reads one file.
public final class RecordingReader {
    public static let columns = "ts,node,domain,event,market,venue,value"

    /// What to do with a row that breaks the rules.
    public enum BadRows: Sendable {
        /// Throw at the first.
        case fail
        /// Skip and remember up to this many; more are only counted.
        case collect(limit: Int)
    }

    /// One skipped row.
    public struct BadRow: Sendable, Equatable {
        public let line: Int
        public let rule: String

        public init(line: Int, rule: String) {
            self.line = line
            self.rule = rule
        }
    }

    private let lines: LineReader
    private let policy: BadRows
    private var keys: [ArraySlice<UInt8>: NodeKey] = [:]
    /// The rows skipped so far, at most the limit of ``BadRows/collect(limit:)``.
    public private(set) var badRows: [BadRow] = []
    /// How many rows were skipped.
    public private(set) var badRowCount = 0

    public init(path: String, badRows: BadRows = .fail) throws(RecordingError) {
        self.lines = try LineReader(path: path)
        self.policy = badRows
        let header = try self.lines.next().map { String(decoding: $0.prefix(200), as: UTF8.self) } ?? "an empty file"
        guard header == Self.columns else {
            throw RecordingError(path: path, reason: .header(expected: Self.columns, found: header))
        }
    }

    /// Number of the line returned last; the header is line 1.
    public var line: Int { self.lines.line }

    /// Bytes of the file read so far (packed ones if it is packed), for showing progress.
    public var bytesRead: Int { self.lines.bytesRead }

    /// The next observation; nil at the end of the file.
    public func next() throws(RecordingError) -> Observation? {
        while let line = try self.lines.next() {
            switch self.parse(line) {
            case .success(let observation): return observation
            case .failure(let error):
                let rule = error.description
                guard case .collect(let limit) = self.policy else {
                    throw RecordingError(path: self.lines.path, reason: .row(line: self.lines.line, rule: rule))
                }
                self.badRowCount += 1
                if self.badRows.count < limit { self.badRows.append(BadRow(line: self.lines.line, rule: rule)) }
            }
        }
        return nil
    }

    private func parse(_ line: ArraySlice<UInt8>) -> Result<Observation, ValidationError> {
        guard let fields = CommaFields.split(line) else {
            return .failure(ValidationError(field: "row", rule: "has a quote that is not closed"))
        }
        guard fields.count == 7 else {
            return .failure(ValidationError(field: "row", rule: "must have 7 columns, has \(fields.count)"))
        }
        guard let milliseconds = CommaFields.text(fields[0]).flatMap({ Int64($0) }) else {
            return .failure(ValidationError(field: "ts", rule: "must be epoch milliseconds, an integer"))
        }
        guard let value = CommaFields.text(fields[6]).flatMap({ Double($0) }), value.isFinite else {
            return .failure(ValidationError(field: "value", rule: "must be a finite number"))
        }
        return Result { () throws(ValidationError) in
            Observation(node: try self.key(fields[2...5]), time: Timestamp(milliseconds: milliseconds), value: value)
        }
    }

    /// The key of the four name fields, made and checked once per node.
    private func key(_ fields: ArraySlice<ArraySlice<UInt8>>) throws(ValidationError) -> NodeKey {
        // The byte 0x1F may be in no name, so the joined bytes tell apart what the names tell apart.
        let joined = Array(fields.joined(separator: [0x1F]))[...]
        if let known = self.keys[joined] { return known }
        var names: [String] = []
        for field in fields {
            guard let name = CommaFields.text(field) else {
                throw ValidationError(field: "row", rule: "must be UTF-8")
            }
            names.append(name)
        }
        let key = try NodeKey(validatingDomain: names[0], event: names[1], market: names[2], venue: names[3])
        self.keys[joined] = key
        return key
    }
}
