/// A recording that cannot be read. `description` names the file, the place and the rule.
public struct RecordingError: Error, Sendable, Equatable, CustomStringConvertible {
    public enum Reason: Sendable, Equatable {
        /// The file cannot be opened or read.
        case unreadable(String)
        /// The first line is not the expected list of columns.
        case header(expected: String, found: String)
        /// The gzip data ends before its end mark, `offset` bytes into the file.
        case truncated(offset: Int)
        /// The gzip data is damaged at or before `offset` bytes into the file.
        case corrupt(offset: Int)
        /// A row that breaks the rules of its columns; lines count from 1, the header is line 1.
        case row(line: Int, rule: String)
    }

    public let path: String
    public let reason: Reason

    public init(path: String, reason: Reason) {
        self.path = path
        self.reason = reason
    }

    public var description: String {
        switch self.reason {
        case .unreadable(let why): "\(self.path) cannot be read: \(why)"
        case .header(let expected, let found): "\(self.path): line 1 must be \(expected), found \(found)"
        case .truncated(let offset):
            "\(self.path) is truncated: the gzip data stops after \(offset) bytes without its end"
        case .corrupt(let offset): "\(self.path) is damaged: no valid gzip data at byte \(offset)"
        case .row(let line, let rule): "\(self.path), line \(line): \(rule)"
        }
    }
}
