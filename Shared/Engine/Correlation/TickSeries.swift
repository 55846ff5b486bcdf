import Foundation
import Model

/// Raw values of one node at irregular times, one a millisecond, oldest first.
public struct TickSeries: Hashable, Sendable {
    /// Epoch milliseconds, strictly increasing.
    public let times: [Int64]
    public let values: [Double]

    /// - Parameter readings: in any order; identical ones count once, one millisecond's values are averaged first.
    /// - Parameter transform: `logReturn` takes logarithms (non-positive prices are dropped), else values stay.
    public init(_ readings: some Sequence<Reading>, transform: DomainProfile.Transform) {
        var times: [Int64] = []
        var values: [Double] = []
        for reading in Reading.merged(readings) {
            let value = transform == .logReturn ? log(reading.value) : reading.value
            guard value.isFinite else { continue }
            times.append(reading.timeMs)
            values.append(value)
        }
        self.times = times
        self.values = values
    }
}
