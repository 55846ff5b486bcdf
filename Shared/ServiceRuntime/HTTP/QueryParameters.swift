import Foundation
import Hummingbird
import Model

/// The query of a request, read strictly: an unknown parameter, one given twice and a value out of range are 400.
public struct QueryParameters: Sendable {
    public static let countLimit = 64

    private let values: [String: String]

    /// - Parameter known: every parameter of the route.
    public init(_ request: Request, known: Set<String>) throws(Problem) {
        try self.init(query: request.uri.query ?? "", known: known)
    }

    public init(query: String, known: Set<String>) throws(Problem) {
        var values: [String: String] = [:]
        let pieces = query.split(separator: "&")
        guard pieces.count <= Self.countLimit else {
            throw Problem(.invalidRequest, detail: "a query has at most \(Self.countLimit) parameters")
        }
        for piece in pieces {
            let halves = piece.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            func decoded(_ text: Substring) -> String? { text.replacing("+", with: " ").removingPercentEncoding }
            guard let first = halves.first, let name = decoded(first),
                let value = decoded(halves.count > 1 ? halves[1] : "")
            else { throw Problem(.invalidRequest, detail: "the query is not valid percent-encoded UTF-8") }
            guard known.contains(name) else {
                throw Problem(.invalidRequest, detail: "\(name.prefix(64)) is not a parameter of this route")
            }
            guard values.updateValue(value, forKey: name) == nil else {
                throw Problem(.invalidRequest, detail: "\(name) is given twice")
            }
        }
        self.values = values
    }

    /// nil when absent or empty.
    public func text(_ name: String) -> String? {
        guard let value = self.values[name], !value.isEmpty else { return nil }
        return value
    }

    /// nil when absent.
    /// - Throws: `Problem` 400 when it is given without a value: for what has a form, which nothing does not have.
    public func given(_ name: String) throws(Problem) -> String? {
        guard let value = self.values[name] else { return nil }
        guard !value.isEmpty else { throw Problem(.invalidRequest, detail: "\(name) is given without a value") }
        return value
    }

    /// A name by the rule of ``Name``.
    public func name(_ name: String) throws(Problem) -> String? {
        guard let value = try self.given(name) else { return nil }
        do { try Name.validate(value, field: name) } catch { throw Problem(error) }
        return value
    }

    public func integer(_ name: String, in range: ClosedRange<Int>, default value: Int) throws(Problem) -> Int {
        guard let text = try self.given(name) else { return value }
        guard let number = Int(text), range.contains(number) else {
            throw Problem(
                .invalidRequest,
                detail: "\(name) must be a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    public func number(_ name: String, in range: ClosedRange<Double>) throws(Problem) -> Double? {
        guard let text = try self.given(name) else { return nil }
        guard let number = Double(text), range.contains(number) else {
            throw Problem(
                .invalidRequest, detail: "\(name) must be a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    /// Epoch milliseconds or RFC 3339.
    public func time(_ name: String) throws(Problem) -> Timestamp? {
        guard let text = try self.given(name) else { return nil }
        let time = Int64(text).map(Timestamp.init(milliseconds:)) ?? Timestamp(rfc3339: text)
        guard let time, time.isRepresentable else {
            throw Problem(.invalidRequest, detail: "\(name) must be epoch milliseconds or an RFC 3339 date-time")
        }
        return time
    }

    /// One of the raw values of an enumeration.
    public func choice<Choice: RawRepresentable & CaseIterable>(
        _ name: String, _ type: Choice.Type
    ) throws(Problem) -> Choice? where Choice.RawValue == String {
        guard let text = try self.given(name) else { return nil }
        guard let choice = Choice(rawValue: text) else {
            let words = Choice.allCases.map(\.rawValue).joined(separator: ", ")
            throw Problem(.invalidRequest, detail: "\(name) must be one of \(words)")
        }
        return choice
    }

    public func layer(_ name: String) throws(Problem) -> Layer? {
        guard let text = try self.given(name) else { return nil }
        guard let layer = Layer(code: text) else {
            throw Problem(.invalidRequest, detail: "\(name) must be L1, L2, L3 or L4")
        }
        return layer
    }
}
