import Foundation

/// The JSON conventions of the API: camel case keys, sorted, slashes as they are; times are written by `Timestamp`.
public enum APIJSON {
    public static func encoder() -> JSONEncoder {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return encoder
    }
}
