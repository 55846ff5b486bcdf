import Foundation
import Hummingbird
import Model

/// Reads the query of a list request; every error names the parameter and its rule.
struct QueryParameters {
    private let values: [String: String]

    /// - Parameter known: any other name is refused, so that a misspelt filter does not silently widen a list.
    init(_ request: Request, known: Set<String>) throws(ValidationError) {
        var values: [String: String] = [:]
        for (name, value) in request.uri.queryParameters {
            let name = String(name)
            guard known.contains(name) else {
                throw ValidationError(
                    field: String(name.prefix(64)),
                    rule: "is not a parameter here; known: \(known.sorted().joined(separator: ", "))")
            }
            guard values.updateValue(String(value), forKey: name) == nil else {
                throw ValidationError(field: name, rule: "must be given once")
            }
        }
        self.values = values
    }

    /// A name by the rule of ``Name``.
    func name(_ field: String) throws(ValidationError) -> String? {
        guard let value = self.values[field] else { return nil }
        try Name.validate(value, field: field)
        return value
    }

    func time(_ field: String) throws(ValidationError) -> Timestamp? {
        guard let value = self.values[field] else { return nil }
        guard let time = Int64(value).map(Timestamp.init(milliseconds:)) ?? Timestamp(rfc3339: value),
            time.isRepresentable
        else { throw ValidationError(field: field, rule: "must be RFC 3339 or epoch milliseconds") }
        return time
    }

    func flag(_ field: String) throws(ValidationError) -> Bool? {
        switch self.values[field] {
        case nil: return nil
        case "true": return true
        case "false": return false
        default: throw ValidationError(field: field, rule: "must be true or false")
        }
    }

    func integer(_ field: String, in range: ClosedRange<Int>, default fallback: Int) throws(ValidationError) -> Int {
        guard let value = self.values[field] else { return fallback }
        guard let number = Int(value), range.contains(number) else {
            throw ValidationError(field: field, rule: "must be \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    /// One of a fixed set of words, in any case.
    func word<Value: RawRepresentable & CaseIterable>(
        _ field: String, _ type: Value.Type = Value.self
    ) throws(ValidationError) -> Value? where Value.RawValue == String {
        guard let value = self.values[field] else { return nil }
        guard let match = Value.allCases.first(where: { $0.rawValue.lowercased() == value.lowercased() }) else {
            let words = Value.allCases.map(\.rawValue).joined(separator: ", ")
            throw ValidationError(field: field, rule: "must be one of \(words)")
        }
        return match
    }

    func layer(_ field: String) throws(ValidationError) -> Layer? {
        guard let value = self.values[field] else { return nil }
        guard let layer = Layer(code: value) else {
            throw ValidationError(field: field, rule: "must be one of L1, L2, L3, L4")
        }
        return layer
    }

    func pageEnd(_ field: String = "cursor") throws(ValidationError) -> PageEnd? {
        guard let value = self.values[field] else { return nil }
        guard value.utf8.count <= 512, let end = PageEnd(cursor: value) else {
            throw ValidationError(field: field, rule: "must be a nextCursor of an earlier answer")
        }
        return end
    }
}

extension PageEnd {
    /// Opaque to clients.
    var cursor: String { Base64URL.encode(Data("\(self.time.milliseconds)|\(self.id)".utf8)) }

    init?(cursor: String) {
        guard let data = Base64URL.decode(cursor), let text = String(data: data, encoding: .utf8),
            let bar = text.firstIndex(of: "|"), let milliseconds = Int64(text[..<bar])
        else { return nil }
        let time = Timestamp(milliseconds: milliseconds)
        let id = String(text[text.index(after: bar)...])
        guard time.isRepresentable, !id.isEmpty, id.utf8.allSatisfy({ (0x30...0x7A).contains($0) }) else { return nil }
        self.init(time: time, id: id)
    }
}
