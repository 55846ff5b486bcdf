import Foundation
import Yams

/// `openapi.yaml`, which is embedded in the program, as JSON.
enum OpenAPIDocument {
    struct Unreadable: Error, CustomStringConvertible {
        let description: String
    }

    static func json(yaml: [UInt8] = PackageResources.openapi_yaml) throws -> [UInt8] {
        guard let text = String(validating: yaml, as: UTF8.self), let root = try Yams.compose(yaml: text) else {
            throw Unreadable(description: "openapi.yaml is empty or not UTF-8")
        }
        var output = ""
        try self.write(root, to: &output, depth: 0)
        return Array(output.utf8)
    }

    private static func write(_ node: Node, to output: inout String, depth: Int) throws {
        guard depth < 64 else { throw Unreadable(description: "openapi.yaml is nested too deeply") }
        switch node {
        case .mapping(let mapping):
            output += "{"
            for (index, (key, value)) in mapping.enumerated() {
                guard let name = key.scalar?.string else {
                    throw Unreadable(description: "openapi.yaml has a key that is no text")
                }
                if index > 0 { output += "," }
                output += self.quoted(name) + ":"
                try self.write(value, to: &output, depth: depth + 1)
            }
            output += "}"
        case .sequence(let sequence):
            output += "["
            for (index, value) in sequence.enumerated() {
                if index > 0 { output += "," }
                try self.write(value, to: &output, depth: depth + 1)
            }
            output += "]"
        case .scalar(let scalar):
            output += self.scalar(scalar)
        case .alias:
            throw Unreadable(description: "openapi.yaml has an alias that leads nowhere")
        }
    }

    /// Only a plain scalar can be anything but text (YAML 1.2 core schema).
    private static func scalar(_ scalar: Node.Scalar) -> String {
        guard scalar.style == .plain || scalar.style == .any else { return self.quoted(scalar.string) }
        switch scalar.string {
        case "true", "false": return scalar.string
        case "null", "~", "": return "null"
        default:
            let isNumber = StrictJSON.parse(Array(scalar.string.utf8))?.double != nil
            return isNumber ? scalar.string : self.quoted(scalar.string)
        }
    }

    private static func quoted(_ text: String) -> String {
        var output = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": output += "\\\""
            case "\\": output += "\\\\"
            case "\n": output += "\\n"
            case "\t": output += "\\t"
            case "\r": output += "\\r"
            default:
                if scalar.value < 0x20 {
                    let digits = String(scalar.value, radix: 16)
                    output += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                } else {
                    output.unicodeScalars.append(scalar)
                }
            }
        }
        return output + "\""
    }
}
