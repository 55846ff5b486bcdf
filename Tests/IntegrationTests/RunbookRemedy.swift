import Foundation
import Model
import Testing

/// What the pages of alerts name under "Mend", in backticks: commands, statements, settings, values of the chart, words of logs.
struct RunbookRemedy: Sendable, CustomTestStringConvertible {
    let page: String
    let text: String

    var testDescription: String { "\(self.page): \(self.text)" }

    static let pages: [(name: String, text: String)] = {
        let folder = ModuleDependencyTests.root.appending(path: "docs/runbooks").path
        let pages = (try? FileManager.default.contentsOfDirectory(atPath: folder).sorted()) ?? []
        return pages.filter { $0.hasSuffix(".md") }.map {
            ($0, (try? String(contentsOfFile: "\(folder)/\($0)", encoding: .utf8)) ?? "")
        }
    }()

    static let all: [RunbookRemedy] = Self.pages.flatMap { page in
        let mend = page.text.components(separatedBy: "\n## Mend\n").dropFirst().joined()
        return mend.components(separatedBy: "`").enumerated().filter { $0.offset % 2 == 1 }
            .map { RunbookRemedy(page: page.name, text: $0.element) }
    }

    enum Kind: Hashable {
        case kubectl, helm, search, promtool, statement, route, setting, value, word
    }

    var kind: Kind {
        switch self.text {
        case let text where text.hasPrefix("kubectl "): .kubectl
        case let text where text.hasPrefix("helm "): .helm
        case let text where text.hasPrefix("grep "): .search
        case let text where text.hasPrefix("promtool "): .promtool
        case let text where text.prefixMatch(of: /(SELECT|ALTER|GRANT|UPDATE|DELETE)\ /) != nil: .statement
        case let text where text.prefixMatch(of: /(GET|POST|PUT|DELETE) \//) != nil: .route
        case let text where text.wholeMatch(of: /[A-Z][A-Z0-9]*_[A-Z0-9_]*\*?(: \w+)?/) != nil: .setting
        case let text where text.wholeMatch(of: /[a-z][A-Za-z]*(\.[a-z][A-Za-z]*)+|maxReplicas/) != nil: .value
        default: .word
        }
    }

    static func of(_ kind: Kind) -> [RunbookRemedy] { Self.all.filter { $0.kind == kind } }
}

/// What of our own and of others' the pages may name.
enum RunbookSources {
    static let root = ModuleDependencyTests.root.path

    private static func files(_ folders: [String], _ ends: [String]) -> [String] {
        folders.flatMap { folder in
            (FileManager.default.enumerator(atPath: "\(Self.root)/\(folder)")?.compactMap { $0 as? String } ?? [])
                .filter { path in ends.contains { path.hasSuffix($0) } }
                .compactMap { try? String(contentsOfFile: "\(Self.root)/\(folder)/\($0)", encoding: .utf8) }
        }
    }

    /// Lines of programs that have a text in them.
    static let programLines = Self.files(["Services", "Shared"], [".swift"]).joined(separator: "\n")
        .split(separator: "\n").filter { $0.contains("\"") && !$0.trimmingCharacters(in: .whitespaces).hasPrefix("//") }
        .map(String.init)
    static let manifests = Self.files(["k8s"], [".yaml"])
    static let monitoring = Self.files(["monitoring"], [".yaml"]).joined(separator: "\n")

    /// What programs say in their logs, as it is written.
    static let logCalls = Self.files(["Services", "Shared"], [".swift"]).flatMap { text in
        text.matches(of: /[lL]ogger\??\.(?:trace|debug|info|notice|warning|error|critical|log)\(/).map {
            String(text[$0.range.lowerBound...].prefix(300))
        }
    }

    /// Objects of the manifests: `Deployment/undercurrent-gateway`.
    static let objects: Set<String> = Set(
        Self.manifests.flatMap { $0.components(separatedBy: "\n---") }.compactMap { document in
            guard let kind = document.firstMatch(of: /\nkind: (\w+)/)?.output.1,
                let name = document.firstMatch(of: /\nmetadata:\n(?: .*\n)*?  name: (\S+)/)?.output.1
            else { return nil }
            return "\(kind)/\(name)"
        })

    /// Kinds by the names kubectl has for them. Those of the cluster itself, or of others in it, are in no manifest of ours.
    static let kinds = [
        "deploy": "Deployment", "svc": "Service", "hpa": "HorizontalPodAutoscaler", "netpol": "NetworkPolicy",
        "servicemonitor": "ServiceMonitor",
    ]
    static let kindsOfCluster: Set = ["pod", "pods", "nodes", "events", "secret", "certificate"]

    /// What is wrong with a command for a cluster; nil: nothing that can be told without one.
    static func fault(kubectl command: String) -> String? {
        let parts = command.components(separatedBy: " | ")
        let own = parts[0].replacing(" 2>/dev/null", with: "")
        var words = own.split(separator: " ").dropFirst().map(String.init)
        for flag in ["-n", "-l", "-o"] {
            guard let place = words.firstIndex(of: flag), place + 1 < words.count else { continue }
            let value = words[place + 1]
            if flag == "-n", value != "monitoring", !self.objects.contains("Namespace/\(value)") {
                return "there is no namespace \(value)"
            }
            if flag == "-l", !self.isLabel(value) { return "nothing has the label \(value)" }
            words.removeSubrange(place...place + 1)
        }
        words.removeAll { $0.hasPrefix("-") }
        guard let verb = words.first else { return "no verb" }
        let names = Array(words.dropFirst())
        switch verb {
        case "logs", "top", "apply": break
        case "get", "describe": if let fault = self.fault(objects: names) { return fault }
        case "exec":
            if let fault = self.fault(objects: names.prefix(1).map { $0.replacing("/", with: " ") }) { return fault }
        case "create":
            guard names.count == 3, names[0] == "secret", self.isNamed(names[2]) else {
                return "no manifest names \(names)"
            }
        default: return "kubectl has no \(verb) here"
        }
        return verb == "logs" ? parts.dropFirst().lazy.compactMap(self.fault(search:)).first : nil
    }

    private static func isLabel(_ selector: String) -> Bool {
        let parts = selector.split(separator: "=").map(String.init)
        let written = ["\(parts[0]): \(parts.last ?? "")", "\(parts[0]): '\(parts.last ?? "")'"]
        return parts.count == 2
            && written.contains { label in self.manifests.contains { $0.contains("    \(label)\n") } }
    }

    private static func isNamed(_ name: String) -> Bool { self.manifests.contains { $0.contains(": \(name)\n") } }

    private static func fault(objects words: [String]) -> String? {
        let words = words.flatMap { $0.split(separator: " ").map(String.init) }
        guard let first = words.first else { return nil }
        for kind in first.split(separator: ",").map(String.init) where !self.kindsOfCluster.contains(kind) {
            guard let long = self.kinds[kind] else { return "no manifest has a \(kind)" }
            let name = words.count > 1 ? words[1] : nil
            let isThere = self.objects.contains { object in
                name.map { object == "\(long)/\($0)" } ?? object.hasPrefix(long + "/")
            }
            guard isThere else { return "no manifest has a \(long) \(name ?? "")" }
        }
        if first == "secret", words.count > 1, !self.isNamed(words[1]) { return "no manifest names \(words[1])" }
        return nil
    }

    /// A search in logs must look for what a program can write.
    static func fault(search command: String) -> String? {
        guard command.hasPrefix("grep ") else { return nil }
        let quoted = command.split(separator: "'").dropFirst().first.map(String.init)
        guard
            let pattern = quoted
                ?? command.split(separator: " ").dropFirst().first(where: { !$0.hasPrefix("-") }).map(String.init)
        else { return "nothing to look for" }
        // Fields of a log line: their names are written where the line is.
        let fields = pattern.matches(of: /"(\w+)":/).map { String($0.output.1) }
        guard fields.isEmpty else {
            let unknown = fields.first { field in
                !self.programLines.contains { $0.contains("\"\(field)\"") || $0.contains("\\\"\(field)\\\"") }
            }
            return unknown.map { "no log line has a field \($0)" }
        }
        guard let regex = try? Regex(pattern).ignoresCase() else { return "no pattern: \(pattern)" }
        return self.logCalls.contains { $0.firstMatch(of: regex) != nil } ? nil : "no program writes \(pattern)"
    }

    /// Whether a program this system is built on has the text in it: PostgreSQL, its client, or OpenSSL.
    static func isOfOthers(_ text: String) -> Bool {
        let libraries =
            "/usr/lib/" + (FileManager.default.fileExists(atPath: "/usr/lib/aarch64-linux-gnu") ? "aarch64" : "x86_64")
            + "-linux-gnu/"
        let versions = (try? FileManager.default.contentsOfDirectory(atPath: "/usr/lib/postgresql")) ?? []
        let files =
            versions.map { "/usr/lib/postgresql/\($0)/bin/postgres" }
            + ["libpq.so.5", "libcrypto.so.3", "libssl.so.3"].map { libraries + $0 }
        return files.contains { path in
            (try? Data(contentsOf: URL(fileURLWithPath: path), options: .alwaysMapped))?.range(of: Data(text.utf8))
                != nil
        }
    }
}
