/// One declared key: everything that is known about it, as data. Tables of these are the only source of reading, checking,
/// `print-config` and the README's configuration table.
public struct Setting: Hashable, Sendable {
    public enum Kind: Hashable, Sendable {
        case text
        case integer(ClosedRange<Int>)
        case number(ClosedRange<Double>)
        case flag
        case choice([String])
        /// Any of these words, separated by commas.
        case words([String])
        /// Must name a file that can be read when the process starts.
        case file
        /// `http://` or `https://` with a host.
        case url
    }

    /// As in the environment: `SHUTDOWN_GRACE_SECONDS`. In a file also `shutdown: {graceSeconds: 20}`.
    public let name: String
    public let kind: Kind
    /// `s`, `ms`, `bytes`; empty for numbers of things and texts.
    public let unit: String
    /// nil: none; the key is then optional, or required.
    public let defaultValue: String?
    public let isRequired: Bool
    /// Printed as `(secret)` everywhere.
    public let isSecret: Bool
    public let summary: String

    public init(
        _ name: String, _ kind: Kind, unit: String = "", default defaultValue: String? = nil,
        isRequired: Bool = false, isSecret: Bool = false, _ summary: String
    ) {
        precondition(!isRequired || defaultValue == nil, "a required key has no default")
        self.name = name
        self.kind = kind
        self.unit = unit
        self.defaultValue = defaultValue
        self.isRequired = isRequired
        self.isSecret = isSecret
        self.summary = summary
    }

    /// The rule a value must obey, as a clause: `must be a whole number from 1 to 65535`.
    var rule: String {
        switch self.kind {
        case .text: "must be a text"
        case .integer(let range): "must be a whole number from \(range.lowerBound) to \(range.upperBound)"
        case .number(let range): "must be a number from \(range.lowerBound) to \(range.upperBound)"
        case .flag: "must be true or false"
        case .choice(let words): "must be one of \(words.joined(separator: ", "))"
        case .words(let words): "must be any of \(words.joined(separator: ", ")), separated by commas"
        case .file: "must name a file that can be read"
        case .url: "must be an http or https URL with a host"
        }
    }
}
