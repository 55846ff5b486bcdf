extension ServiceSettings {
    static let hidden = "(secret)"

    /// One `KEY=value` a line with where it came from; secrets hidden. What `print-config` shows.
    public var rendered: String {
        self.table.map { setting in
            guard let value = self.values[setting.name] else { return "# \(setting.name) is not set" }
            let shown = setting.isSecret ? Self.hidden : value
            return "\(setting.name)=\(shown)" + (self.given.contains(setting.name) ? "" : "  # default")
        }.joined(separator: "\n")
    }
}

extension Setting {
    /// The configuration table of README.
    public static func markdown(_ table: [Setting]) -> String {
        let head = "| key | default | unit | meaning |\n|---|---|---|---|\n"
        return head
            + table.map { setting in
                let value = setting.defaultValue.map { "`\($0)`" } ?? (setting.isRequired ? "required" : "none")
                let rule = setting.summary.replacing("|", with: "\\|")
                return
                    "| `\(setting.name)` | \(value) | \(setting.unit) | \(rule)\(setting.isSecret ? " Secret." : "") |"
            }.joined(separator: "\n")
    }
}
