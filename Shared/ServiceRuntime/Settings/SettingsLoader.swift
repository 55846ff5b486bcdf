import Configuration
import Foundation
import Postgres

/// Reads and checks the configuration of one service: environment first, then the file named by CONFIG_FILE.
///
/// Strict, because a key that is silently ignored is found in an outage: missing, unparsable, out of range and unknown keys
/// are all reported at once.
public struct SettingsLoader: Sendable {
    public let service: String
    public let table: [Setting]
    public let prefixes: [String]

    /// - Parameter prefixes: words that only keys of this service begin with, besides ``Setting/sharedPrefixes``.
    public init(service: String, table: [Setting], prefixes: [String] = []) {
        precondition(Set(table.map(\.name)).count == table.count, "a key is declared once")
        self.service = service
        self.table = table
        self.prefixes = Setting.sharedPrefixes + prefixes
    }

    /// - Throws: ``SettingsError`` with every fault.
    public func load(
        environment: [String: String] = ProcessInfo.processInfo.environment
    ) throws(SettingsError) -> ServiceSettings {
        // An empty variable is what shells and compose files leave of an unset one.
        let environment = environment.filter { !$0.value.isEmpty }
        var faults = self.unknownVariables(environment)
        var file: [String: String] = [:]
        if let path = environment["CONFIG_FILE"] {
            do {
                file = try SettingsFile.read(path)
                for name in file.keys.sorted() where !self.isDeclared(name) {
                    faults.append("\(name) in \(path) is not a key of \(self.service)\(self.suggestion(for: name))")
                }
            } catch let error {
                faults += error.faults
            }
        }
        let reader = ConfigReader(providers: [
            EnvironmentVariablesProvider(environmentVariables: environment),
            InMemoryProvider(
                name: "file",
                values: Dictionary(
                    uniqueKeysWithValues: file.map {
                        (AbsoluteConfigKey(Self.components($0.key)), ConfigValue(.string($0.value), isSecret: true))
                    })),
        ])
        var values: [String: String] = [:]
        var given: Set<String> = []
        for setting in self.table {
            let key = ConfigKey(Self.components(setting.name))
            let direct = reader.string(forKey: key, isSecret: setting.isSecret)
            let path = setting.isSecret ? reader.string(forKey: Self.fileKey(setting)) : nil
            if direct != nil, path != nil {
                faults.append("\(setting.name) and \(setting.name)_FILE exclude each other")
            }
            if let text = direct ?? path.flatMap(PostgresConfiguration.connectionString(file:)) {
                given.insert(setting.name)
                guard let value = setting.normalized(text) else {
                    faults.append("\(setting.name) \(setting.rule)\(setting.shown(text))")
                    continue
                }
                values[setting.name] = value
            } else if let value = setting.defaultValue {
                values[setting.name] = value
            } else if setting.isRequired {
                faults.append("\(setting.name) is required: \(setting.summary)")
            }
        }
        faults += Self.contradictions(values)
        guard faults.isEmpty else { throw SettingsError(faults: faults) }
        return ServiceSettings(service: self.service, table: self.table, values: values, given: given)
    }

    /// Values that are right alone and wrong together.
    private static func contradictions(_ values: [String: String]) -> [String] {
        Self.chaosInProduction(values)
            + Setting.ordered.compactMap { pair in
                guard let low = values[pair.low].flatMap({ Int($0) }),
                    let high = values[pair.high].flatMap({ Int($0) }),
                    low > high || (low == high && !pair.mayEqual)
                else { return nil }
                return
                    "\(pair.low) must be \(pair.mayEqual ? "at most" : "less than") \(pair.high), not \(low) with \(high)"
            }
    }

    private static func chaosInProduction(_ values: [String: String]) -> [String] {
        guard values["CHAOS_ENABLED"] == "true", values["UNDERCURRENT_PROFILE"] == "production" else { return [] }
        return ["CHAOS_ENABLED must not be true while UNDERCURRENT_PROFILE is production, which is its default"]
    }

    /// `DATABASE_URL` may stand in the file named by `DATABASE_URL_FILE`.
    private static func fileKey(_ setting: Setting) -> ConfigKey {
        ConfigKey(Self.components(setting.name + "_FILE"))
    }

    private static func components(_ name: String) -> [String] {
        name.split(separator: "_", omittingEmptySubsequences: false).map { $0.lowercased() }
    }

    private func isDeclared(_ name: String) -> Bool { self.table.contains { $0.name == name } }

    private func suggestion(for name: String) -> String {
        EditDistance.nearest(to: name, among: self.table.map(\.name)).map { "; is \($0) meant?" } ?? ""
    }

    private func unknownVariables(_ environment: [String: String]) -> [String] {
        environment.keys.sorted().compactMap { name in
            guard !self.isDeclared(name), !Setting.keptNames.contains(name), !Setting.foreignNames.contains(name),
                !Self.isServiceLink(name, environment[name] ?? "")
            else { return nil }
            let suggestion = self.suggestion(for: name)
            guard self.prefixes.contains(where: name.hasPrefix) || !suggestion.isEmpty else { return nil }
            return "\(name) in the environment is not a key of \(self.service)\(suggestion)"
        }
    }

    /// Kubernetes puts `X_SERVICE_HOST`, `X_SERVICE_PORT...`, `X_PORT` and `X_PORT_80_TCP...` of every service X into the
    /// environment of every pod.
    private static func isServiceLink(_ name: String, _ value: String) -> Bool {
        name.hasSuffix("_SERVICE_HOST") || name.contains("_SERVICE_PORT")
            || (name.hasSuffix("_PORT") && (value.hasPrefix("tcp://") || value.hasPrefix("udp://")))
            || name.firstMatch(of: /_PORT_[0-9]+_(TCP|UDP)/) != nil
    }
}

extension Setting {
    /// The value in its one spelling, or nil when it breaks the rule.
    func normalized(_ text: String) -> String? {
        let trimmed = text.trimmingCharacters(in: .whitespaces)
        switch self.kind {
        case .text: return text.contains("\0") || trimmed.isEmpty ? nil : text
        case .integer(let range): return Int(trimmed).flatMap { range.contains($0) ? String($0) : nil }
        case .number(let range):
            return Double(trimmed).flatMap { $0.isFinite && range.contains($0) ? String($0) : nil }
        case .flag:
            switch trimmed.lowercased() {
            case "true", "yes", "1", "on": return "true"
            case "false", "no", "0", "off": return "false"
            default: return nil
            }
        case .choice(let words): return words.first { $0 == trimmed.lowercased() || $0 == trimmed }
        case .words(let words):
            let given = trimmed.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
            return given.allSatisfy(words.contains) ? given.joined(separator: ",") : nil
        case .file: return FileManager.default.isReadableFile(atPath: trimmed) ? trimmed : nil
        case .url:
            guard let parts = URLComponents(string: trimmed), parts.scheme == "http" || parts.scheme == "https",
                parts.host?.isEmpty == false
            else { return nil }
            return trimmed
        }
    }

    /// `, not "abc"`: nothing of a secret, and at most 64 characters.
    func shown(_ text: String) -> String { self.isSecret ? "" : ", not \"\(text.prefix(64))\"" }
}
