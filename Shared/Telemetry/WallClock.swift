import Glibc

/// The time of day, for what people and tables read; never for measuring how long something took.
public enum WallClock {
    /// Since 1970-01-01 in UTC.
    public static func milliseconds() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1_000 + Int64(time.tv_nsec) / 1_000_000
    }
}
