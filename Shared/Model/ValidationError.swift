/// A value from outside that breaks one of the model's rules.
///
/// `description` is safe to send to a client: it names the field and the rule, never more than 64 characters of the value.
public struct ValidationError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The field at fault, in the spelling of the API: `event`, `value`, `minConfidence`.
    public let field: String
    /// The rule it broke, as a clause: `must be 1 to 128 characters`.
    public let rule: String

    public init(field: String, rule: String) {
        self.field = field
        self.rule = rule
    }

    public var description: String { "\(self.field) \(self.rule)" }
}
