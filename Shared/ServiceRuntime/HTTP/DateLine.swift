/// The `date` line of an answer, made once a second.
public struct DateLine: Sendable {
    private var second: Int64 = .min
    /// The value alone.
    public private(set) var value = ""
    /// With its name and line end.
    public private(set) var line = ""

    public init() {}

    /// - Parameter nowMs: wall clock, milliseconds since 1970.
    public mutating func refresh(nowMs: Int64) {
        let second = nowMs / 1_000
        guard second != self.second else { return }
        self.second = second
        self.value = Self.text(second)
        self.line = "date: \(self.value)\r\n"
    }

    /// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7).
    public static func text(_ second: Int64) -> String {
        let days = Int(second / 86_400)
        let time = Int(second % 86_400)
        // Civil date from days since 1970, by eras of 400 years.
        let shifted = days + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted % 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        let names = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return "\(names[days % 7]), \(two(day)) \(months[month - 1]) \(year) "
            + "\(two(time / 3_600)):\(two(time / 60 % 60)):\(two(time % 60)) GMT"
    }
}
