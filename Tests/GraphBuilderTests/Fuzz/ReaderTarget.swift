import Foundation
import HTTPTypes
import Model
import Telemetry

@testable import GraphBuilder
@testable import ServiceRuntime

/// What is done with an input. Each target gives faults found: anything that must not be, in words. Wherever there is another
/// reader of the same language (a regular expression, Foundation, zlib at once), both must agree on what they accept.
enum ReaderTarget: String, CaseIterable, Sendable {
    case lines, array, item, gzip, timestamp, entityTags, cacheControl, accept, contentType, idempotencyKey

    func faults(_ bytes: [UInt8]) -> [String] {
        let text = String(decoding: bytes, as: UTF8.self)
        return switch self {
        case .lines: BodyFuzz.faults(bytes, .lines)
        case .array: BodyFuzz.faults(bytes, .array)
        case .item: BodyFuzz.item(bytes)
        case .gzip: BodyFuzz.gzip(bytes)
        case .timestamp: Self.timestamp(text)
        case .entityTags: Self.entityTags(text)
        case .cacheControl: Self.cacheControl(text)
        case .accept: Self.accept(text)
        case .contentType: Self.contentType(text)
        case .idempotencyKey: Self.idempotencyKey(text)
        }
    }

    /// Inputs that are packed and so are made, not kept.
    var madeSeeds: [[UInt8]] {
        guard self == .gzip else { return [] }
        let text = Array(String(repeating: IngestParsingTests.line() + "\n", count: 40).utf8)
        let (one, empty) = (IngestParsingTests.gzip(text), IngestParsingTests.gzip([]))
        return [one, empty, one + one, Array(one.dropLast(3)), one + [0x1F]]
    }

    // MARK: Fields

    private static let tag = "\"0123abcd-4567\""

    /// RFC 9110, 8.8.3 and 13.1.2: the elements by a regular expression, tags compared weakly.
    private static func entityTags(_ text: String) -> [String] {
        let elements = text.matches(of: /(?:[^",]|"[^"]*(?:"|$))+/.matchingSemantics(.unicodeScalar))
            .map { $0.output.trimmingCharacters(in: CharacterSet(charactersIn: " \t")) }
        let isHeld = elements.contains { ["*", Self.tag, "W/\(Self.tag)"].contains($0) }
        return GraphRoutes.matches([text], Self.tag) == isHeld ? [] : ["\(elements) holds: \(!isHeld)"]
    }

    /// RFC 9111, 5.2.1.4: a directive of that name, wherever text between quotes says it.
    private static func cacheControl(_ text: String) -> [String] {
        guard let field = Self.field(.cacheControl, text) else { return [] }
        let bare = text.replacing(
            /"(?:\\(?s:.)|[^"\\])*(?:"|\\?$)/.matchingSemantics(.unicodeScalar), with: "'")
        let directives = bare.split(separator: ",").map {
            $0.trimmingCharacters(in: CharacterSet(charactersIn: " \t")).prefix { $0 != "=" }.lowercased()
        }
        let asks = directives.contains("no-cache")
        return AnswerCache.asksForNew(field) == asks ? [] : ["\(directives) asks: \(!asks)"]
    }

    /// What the library takes for the value of a field, and nothing else, comes to us.
    private static func field(_ name: HTTPField.Name, _ text: String) -> HTTPFields? {
        let field = HTTPField(name: name, value: text)
        return field.value == text ? [name: text] : nil
    }

    /// RFC 9110, 12.5.1, as far as two types go.
    private static func accept(_ text: String) -> [String] {
        func weight(_ type: String) -> Double {
            text.split(separator: ",").compactMap { range -> Double? in
                let parts = range.split(separator: ";", omittingEmptySubsequences: false)
                    .map { $0.trimmingCharacters(in: CharacterSet(charactersIn: " \t")).lowercased() }
                guard parts.first == type else { return nil }
                guard let given = parts.dropFirst().first(where: { $0.hasPrefix("q=") }) else { return 1 }
                let isOne = given.wholeMatch(of: /q=(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)/.asciiOnlyDigits()) != nil
                return isOne ? Double(given.dropFirst(2)) ?? 0 : 0
            }.max() ?? 0
        }
        let (open, plain) = (weight("application/openmetrics-text"), weight("text/plain"))
        let expected = open > 0 && open >= plain ? ExpositionFormat.openMetrics : .text
        return ExpositionFormat(accept: text) == expected ? [] : ["\(expected) is liked by \(text)"]
    }

    private static func contentType(_ text: String) -> [String] {
        let found = try? IngestController<CallContext>.format(text)
        let lower = String(decoding: text.utf8.map { (0x41...0x5A).contains($0) ? $0 | 0x20 : $0 }, as: UTF8.self)
        let isArray = /[ \t]*application\/json[ \t]*(?:;(?s:.)*)?/.matchingSemantics(.unicodeScalar)
        let isLines = /[ \t]*application\/(?:x-ndjson|ndjson|jsonl|x-jsonlines)[ \t]*(?:;(?s:.)*)?/
            .matchingSemantics(.unicodeScalar)
        let expected: BodyScanner.Format? =
            lower.wholeMatch(of: isArray) != nil ? .array : lower.wholeMatch(of: isLines) != nil ? .lines : nil
        return found == expected ? [] : ["\(text) is \(String(describing: found))"]
    }

    private static func idempotencyKey(_ text: String) -> [String] {
        let key = try? IdempotencyKey(caller: "c", key: text)
        let scalars = text.unicodeScalars
        let isOne = (1...255).contains(scalars.count) && scalars.allSatisfy { (0x21...0x7E).contains($0.value) }
        return (key != nil) == isOne && (key.map { $0.key == text } ?? true) ? [] : ["\(text) is a key: \(!isOne)"]
    }

    // MARK: Times

    /// RFC 3339, section 5.6, as a regular expression; days are counted one year and one month at a time.
    private static func timestamp(_ text: String) -> [String] {
        let found = Timestamp(rfc3339: text)
        let pattern =
            /([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))/
            .asciiOnlyDigits().matchingSemantics(.unicodeScalar)
        guard text.utf8.count <= 40, let match = text.wholeMatch(of: pattern)?.output else {
            return found == nil ? [] : ["\(text) is taken for a time"]
        }
        func number(_ text: Substring?) -> Int64 { text.flatMap { Int64($0) } ?? 0 }
        let (year, month, day) = (number(match.1), number(match.2), number(match.3))
        let (hour, minute, second) = (number(match.4), number(match.5), number(match.6))
        let (aheadHours, aheadMinutes) = (number(match.9), number(match.10))
        func isLeap(_ year: Int64) -> Bool { year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) }
        func length(_ month: Int64) -> Int64 {
            month == 2 ? (isLeap(year) ? 29 : 28) : [4, 6, 9, 11].contains(month) ? 30 : 31
        }
        let isOne =
            year >= 1 && (1...12).contains(month) && day >= 1 && day <= length(month) && hour < 24 && minute < 60
            && second <= 60 && aheadHours < 24 && aheadMinutes < 60
        guard isOne, let found else { return (found != nil) == isOne ? [] : ["\(text) is a time: \(!isOne)"] }
        var days: Int64 = -719_162
        for past in 1..<max(1, year) { days += isLeap(past) ? 366 : 365 }
        for past in 1..<max(1, month) { days += length(past) }
        let ahead = (aheadHours * 60 + aheadMinutes) * (match.8 == "-" ? -60 : 60)
        let seconds = (days + day - 1) * 86_400 + hour * 3_600 + minute * 60 + second - ahead
        let fraction = number(((match.7.map(String.init) ?? "") + "000").prefix(3))
        guard found.milliseconds == seconds * 1_000 + fraction else { return ["\(text) is \(found.milliseconds)"] }
        guard found.isRepresentable else { return [] }
        return Timestamp(rfc3339: found.description) == found ? [] : ["\(found) does not read as \(text)"]
    }
}
