import Foundation
import Yams

/// A configuration file: JSON or YAML, one mapping. Keys are written as in the environment, or nested in camel case:
/// `shutdown: {graceSeconds: 20}` is SHUTDOWN_GRACE_SECONDS.
enum SettingsFile {
    static let byteLimit = 1 << 20
    static let depthLimit = 8

    static func read(_ path: String) throws(SettingsError) -> [String: String] {
        func fail(_ rule: String) -> SettingsError { SettingsError(faults: ["CONFIG_FILE \(path) \(rule)"]) }
        guard let handle = FileHandle(forReadingAtPath: path),
            let data = try? handle.read(upToCount: Self.byteLimit + 1)
        else { throw fail("cannot be read") }
        guard data.count <= Self.byteLimit, let text = String(data: data, encoding: .utf8) else {
            throw fail("must be UTF-8 text of at most 1 MiB")
        }
        let root: Node?
        do { root = try Yams.compose(yaml: text) } catch { throw fail("is neither JSON nor YAML: \(error)") }
        guard let root else { return [:] }
        var values: [String: String] = [:]
        try Self.collect(root, path: [], into: &values, fail: fail)
        return values
    }

    private static func collect(
        _ node: Node, path: [String], into values: inout [String: String], fail: (String) -> SettingsError
    ) throws(SettingsError) {
        switch node {
        case .mapping(let mapping):
            guard path.count < Self.depthLimit else { throw fail("is nested too deeply") }
            for (key, value) in mapping {
                guard let word = key.string else { throw fail("has a key that is no text") }
                try Self.collect(value, path: path + [word], into: &values, fail: fail)
            }
        case .scalar(let scalar):
            guard !path.isEmpty else { throw fail("must be a mapping of keys to values") }
            let name = Self.name(path)
            guard values[name] == nil else { throw fail("sets \(name) twice") }
            values[name] = scalar.string
        case .sequence, .alias:
            throw fail("has a list at \(path.joined(separator: ".")); values are texts, numbers or true/false")
        }
    }

    /// `["shutdown", "graceSeconds"]` -> `SHUTDOWN_GRACE_SECONDS`; a word that has no lower case stays as it is.
    static func name(_ path: [String]) -> String {
        path.map { word in
            guard word.contains(where: \.isLowercase) else { return word }
            var text = ""
            for character in word {
                if character.isUppercase, !text.isEmpty { text += "_" }
                text += character == "-" || character == "." ? "_" : character.uppercased()
            }
            return text
        }.joined(separator: "_")
    }
}
