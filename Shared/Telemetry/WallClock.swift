import Foundation

/// The time of day, for what people and tables read; never for measuring how long something took.
public enum WallClock {
    /// Since 1970-01-01 in UTC.
    public static func milliseconds() -> Int64 { Int64((Date().timeIntervalSince1970 * 1_000).rounded(.down)) }
}
