import Foundation
import NIOCore

/// The JSON conventions of the API: camel case keys, sorted, slashes as they are; times are written by `Timestamp`.
public enum APIJSON {
    public static func encoder() -> JSONEncoder {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return encoder
    }

    static func bytes(_ value: some Encodable) throws -> ByteBuffer {
        ByteBuffer(bytes: try Self.encoder().encode(value))
    }
}
