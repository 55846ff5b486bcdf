/// Decides once per trace whether it is recorded: the caller's decision where there is one, else by the trace id, so that every
/// service that starts the same trace decides alike.
public struct RatioSampler: Hashable, Sendable {
    /// Share of new traces that are recorded, 0 ... 1.
    public let ratio: Double

    public init(ratio: Double) {
        precondition((0...1).contains(ratio), "a share lies between 0 and 1")
        self.ratio = ratio
    }

    public func isSampled(_ traceID: TraceID, parent: TraceContext?) -> Bool {
        if let parent { return parent.isSampled }
        if self.ratio >= 1 { return true }
        // 63 bits, so that the product never reaches the end of the range.
        return traceID.low >> 1 < UInt64(self.ratio * 0x1p63)
    }
}
