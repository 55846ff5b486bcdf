import ArgumentParser
import Foundation

/// `--output json|table` of every command that prints a result: JSON for programs, a table for people.
public enum OutputFormat: String, ExpressibleByArgument, CaseIterable, Sendable {
    case table, json

    /// Prints a value as one JSON document with sorted keys.
    public static func printJSON(_ value: some Encodable) throws {
        let encoder = APIJSON.encoder()
        encoder.outputFormatting.insert(.prettyPrinted)
        print(String(decoding: try encoder.encode(value), as: UTF8.self))
    }
}
