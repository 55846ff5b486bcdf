/// One raw measurement of a node that is known from the context.
public struct Reading: Hashable, Comparable, Sendable {
    /// Epoch milliseconds, event time.
    public var timeMs: Int64
    public var value: Double

    public init(timeMs: Int64, value: Double) {
        self.timeMs = timeMs
        self.value = value
    }

    public static func < (left: Self, right: Self) -> Bool {
        left.timeMs != right.timeMs ? left.timeMs < right.timeMs : left.value < right.value
    }

    /// One reading a millisecond, in order of time: identical readings count once, different values of one millisecond are
    /// averaged (summed in ascending order, so the result does not depend on arrival).
    public static func merged(_ readings: some Sequence<Reading>) -> [Reading] {
        var ordered = Array(readings)
        // Mostly they are: stored readings come in order of time.
        if zip(ordered.dropFirst(), ordered).contains(where: { $0 < $1 }) { ordered.sort() }
        var result: [Reading] = []
        result.reserveCapacity(ordered.count)
        var previous: Reading?
        var count = 0.0
        for reading in ordered where reading != previous {
            if let last = previous, last.timeMs == reading.timeMs {
                count += 1
                result[result.count - 1].value += reading.value
            } else {
                Self.close(&result, count: count)
                result.append(reading)
                count = 1
            }
            previous = reading
        }
        Self.close(&result, count: count)
        return result
    }

    private static func close(_ result: inout [Reading], count: Double) {
        if count > 1 { result[result.count - 1].value /= count }
    }
}
