import Foundation
import Model
import Testing

@Suite("Times")
struct TimestampTests {
    private static var foundation: Date.ISO8601FormatStyle { Date.ISO8601FormatStyle(includingFractionalSeconds: true) }

    /// Every 1,237th day from 1850 to 2350, each with another time of day.
    private static let spread: [Int64] = (0..<148).map { index in
        -3_786_912_000_000 + Int64(index) * 1_237 * 86_400_000 + Int64(index) * 577_001
    }

    @Test("a time is written as Foundation writes it, and read back unchanged")
    func foundationAgrees() throws {
        for milliseconds in Self.spread + [0, -1, 951_782_400_000, 4_107_542_399_999] {
            let time = Timestamp(milliseconds: milliseconds)
            let seconds = Double(milliseconds >= 0 ? milliseconds / 1_000 : (milliseconds - 999) / 1_000)
            let date = Date(timeIntervalSince1970: seconds)
            // Foundation keeps binary fractions and cuts them off: the millisecond may differ, the second must not.
            #expect(time.rfc3339.prefix(19) == date.formatted(Self.foundation).prefix(19))
            #expect(Timestamp(rfc3339: time.rfc3339) == time)
        }
    }

    @Test("the edges of the range are the years 1 and 9999, and nothing beyond them crashes")
    func edges() {
        #expect(Timestamp.earliest.rfc3339 == "0001-01-01T00:00:00.000Z")
        #expect(Timestamp.latest.rfc3339 == "9999-12-31T23:59:59.999Z")
        #expect(Timestamp(rfc3339: "0001-01-01T00:00:00Z") == .earliest)
        #expect(!Timestamp.earliest.advanced(byMilliseconds: -1).isRepresentable)
        #expect(!Timestamp.latest.advanced(byMilliseconds: 1).isRepresentable)
        for extreme in [Int64.min, .min + 1, .max] { #expect(!Timestamp(milliseconds: extreme).rfc3339.isEmpty) }
    }

    @Test(
        "every spelling RFC 3339 allows is read",
        arguments: [
            ("1970-01-01T00:00:00Z", 0), ("1970-01-01t00:00:00z", 0), ("1970-01-01 00:00:01Z", 1_000),
            ("1970-01-01T00:00:00.5Z", 500), ("1970-01-01T00:00:00.1239Z", 123),
            ("1970-01-01T01:00:00.250+01:00", 250), ("1969-12-31T18:30:00-05:30", 0),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000), ("2000-02-29T00:00:00Z", 951_782_400_000),
        ] as [(String, Int64)])
    func spellings(text: String, milliseconds: Int64) {
        #expect(Timestamp(rfc3339: text)?.milliseconds == milliseconds)
    }

    @Test(
        "anything else is refused",
        arguments: [
            "", "now", "1970-01-01", "1970-01-01T00:00:00", "1970-01-01T00:00Z", "1970-1-01T00:00:00Z",
            "1970-13-01T00:00:00Z", "1970-00-01T00:00:00Z", "1970-01-00T00:00:00Z", "1970-04-31T00:00:00Z",
            "1900-02-29T00:00:00Z", "1970-01-01T24:00:00Z", "1970-01-01T00:60:00Z", "1970-01-01T00:00:61Z",
            "1970-01-01T00:00:00.Z", "1970-01-01T00:00:00,5Z", "1970-01-01T00:00:00+0100", "1970-01-01T00:00:00+24:00",
            "1970-01-01T00:00:00+01:60", "1970-01-01T00:00:00Z ", " 1970-01-01T00:00:00Z", "0000-01-01T00:00:00Z",
            "+970-01-01T00:00:00Z", "1970-01-01T00:00:00ZZ", "１970-01-01T00:00:00Z",
            "1970-01-01T00:00:00.0000000000000000000000001Z",
        ])
    func refused(text: String) { #expect(Timestamp(rfc3339: text) == nil) }

    @Test("JSON may hold milliseconds or a text, and is written as a text")
    func json() throws {
        let times = try JSONDecoder().decode([Timestamp].self, from: Data(#"[1500,"1970-01-01T00:00:01.5Z"]"#.utf8))
        #expect(times.map(\.milliseconds) == [1_500, 1_500])
        #expect(
            try String(decoding: JSONEncoder().encode([times[0]]), as: UTF8.self) == #"["1970-01-01T00:00:01.500Z"]"#)
        for bad in [#"["soon"]"#, "[1.5]", "[1e300]", "[null]", "[true]"] {
            #expect(throws: DecodingError.self) { try JSONDecoder().decode([Timestamp].self, from: Data(bad.utf8)) }
        }
    }

    @Test(
        "an observation is refused for a value that is not finite and a time beyond tolerance, each by name",
        arguments: [
            (0, Double.nan, "value"), (0, .infinity, "value"), (300_001, 1, "time"), (.min, 1, "time"),
            (300_000, 1, nil), (-1, -1, nil),
        ] as [(Int64, Double, String?)])
    func observation(milliseconds: Int64, value: Double, field: String?) {
        let time = Timestamp(milliseconds: milliseconds)
        let error = Result { try Observation.validate(time: time, value: value, now: Timestamp(milliseconds: 0)) }
        switch error {
        case .success: #expect(field == nil)
        case .failure(let error): #expect((error as? ValidationError)?.field == field)
        }
    }
}
