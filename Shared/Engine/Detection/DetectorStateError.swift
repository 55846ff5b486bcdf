/// A stored state of a detector that no detector can have left: its row was altered, or written by something else. It is learnt
/// anew then; going on from it could read beyond what it holds.
public struct DetectorStateError: Error, Hashable, CustomStringConvertible {
    public let part: String
    public let rule: String

    public var description: String { "\(self.part): \(self.rule)" }

    static func require(_ holds: Bool, _ part: String, _ rule: String) throws(DetectorStateError) {
        guard holds else { throw DetectorStateError(part: part, rule: rule) }
    }

    /// Numbers of buckets and milliseconds that are added to each other.
    static let counts = 0...1_000_000_000
    static let times = Int64(-1_000_000_000_000_000)...1_000_000_000_000_000
}
