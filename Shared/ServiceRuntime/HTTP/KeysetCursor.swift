import Foundation
import Model

/// Where a list goes on: the sort keys of the last item, opaque to clients (base64url of a JSON array of texts).
///
/// Pages by key and not by offset stay right while rows are added. A cursor names its list, so that one list's cursor is refused
/// by another.
public struct KeysetCursor: Hashable, Sendable {
    public static let lengthLimit = 2_048

    public let list: String
    /// The values of the ORDER BY columns of the last item, as texts.
    public let keys: [String]

    public init(list: String, keys: [String]) {
        self.list = list
        self.keys = keys
    }

    /// - Throws: `Problem` 400 for anything that is no cursor of this list with this number of keys.
    public init(_ text: some StringProtocol, list: String, keyCount: Int) throws(Problem) {
        guard text.utf8.count <= Self.lengthLimit, let data = Base64URL.decode(text),
            let parts = try? JSONDecoder().decode([String].self, from: data), parts.count == keyCount + 1,
            parts.first == list, parts.allSatisfy({ !$0.contains("\0") })
        else { throw Problem(.invalidRequest, detail: "cursor is not one this list has given out") }
        self.list = list
        self.keys = Array(parts.dropFirst())
    }

    public var text: String {
        // An array of texts can always be encoded.
        Base64URL.encode((try? JSONEncoder().encode([self.list] + self.keys)) ?? Data())
    }
}
