/// One measured value of one node. Identical triples (node, time, value) are one observation.
public struct Observation: Hashable, Sendable {
    /// How far ahead of the wall clock a time may be before it is refused.
    public static let futureToleranceMs: Int64 = 300_000

    public let node: NodeKey
    public let time: Timestamp
    public let value: Double

    public init(node: NodeKey, time: Timestamp, value: Double) {
        self.node = node
        self.time = time
        self.value = value
    }

    /// Checks what does not depend on the names: a finite value, a time that RFC 3339 can write and that is not more than
    /// five minutes ahead of `now` (the only use of the wall clock on data).
    public static func validate(time: Timestamp, value: Double, now: Timestamp) throws(ValidationError) {
        guard value.isFinite else { throw ValidationError(field: "value", rule: "must be a finite number") }
        guard time.isRepresentable else {
            throw ValidationError(field: "time", rule: "must lie between the years 1 and 9999")
        }
        guard time.milliseconds <= now.milliseconds + Self.futureToleranceMs else {
            throw ValidationError(field: "time", rule: "must not be more than 5 minutes in the future")
        }
    }
}
