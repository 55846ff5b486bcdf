import Foundation
import Model
import NIOHTTP1

extension ReadinessTrials {
    func healthEndpoint() async throws -> ReadinessFinding {
        var evidence: [String: String] = [:]
        // It was well a moment ago; a busy machine may have missed one look since.
        _ = await self.probe.until(seconds: 10) {
            try await self.probe.call(.GET, "/health", key: "").json["status"] as? String == "HEALTHY"
        }
        for path in ["/livez", "/readyz", "/health"] {
            evidence[path] = "\(try await self.probe.call(.GET, path, key: "").status)"
        }
        let health = try await self.probe.call(.GET, "/health", key: "").json
        let metrics = health["metrics"] as? [String: Any] ?? [:]
        // A figure that is null, or of another kind, is none.
        var missing = ["dbLatency", "layerFailures", "activeConnections"].filter { !(metrics[$0] is NSNumber) }
        missing += ["lastSuccessfulBuild", "failover"].filter { !(metrics[$0] is String) }
        let services = health["services"] as? [String: Any] ?? [:]
        missing += ["graph-builder", "anomaly-propagation"].filter { services[$0] == nil }
        let status = health["status"] as? String ?? "none"
        evidence["status"] = status
        for (name, value) in metrics { evidence[name] = "\(value)" }
        let areWell = evidence.filter { $0.key.hasPrefix("/") }.values.allSatisfy { $0 == "200" }
        return .judge(
            areWell && missing.isEmpty && status == "HEALTHY",
            missing.isEmpty ? "it does not say that it is well" : "missing: \(missing.joined(separator: ", "))",
            evidence)
    }

    func loadTest() async throws -> ReadinessFinding {
        let graph = try await self.soundGraph()
        let read = try await self.read(graph.event, callers: 8, for: .seconds(10))
        let rate = Double(read.count) / max(0.1, read.seconds)
        return .judge(
            read.failures == 0 && read.count > 0, "\(read.failures) of \(read.count) failed",
            [
                "requests": "\(read.count)", "perSecond": "\(Int(rate))", "p99": "\(read.p99)",
                "first failure": read.firstFailure ?? "none",
            ])
    }

    /// Alerts that are shipped, against the pages that are.
    func runbook() -> ReadinessFinding {
        let files = FileManager.default
        let pages = Set(
            ((try? files.contentsOfDirectory(atPath: self.places.runbooks)) ?? []).filter { $0.hasSuffix(".md") }
                .map { String($0.dropLast(3)) })
        var alerts: Set<String> = []
        let rules = files.enumerator(atPath: self.places.monitoring)?.compactMap { $0 as? String } ?? []
        for path in rules where path.hasSuffix(".yml") || path.hasSuffix(".yaml") {
            guard let text = try? String(contentsOfFile: "\(self.places.monitoring)/\(path)", encoding: .utf8) else {
                continue
            }
            for line in text.split(separator: "\n") {
                guard let name = line.firstMatch(of: /alert:\s*"?([A-Za-z0-9_]+)/)?.1 else { continue }
                alerts.insert(String(name))
            }
        }
        let missing = alerts.subtracting(pages).sorted()
        let silent = alerts.intersection(pages).filter { !Self.saysWhatToDo("\(self.places.runbooks)/\($0).md") }
            .sorted()
        let evidence = ["alerts": "\(alerts.count)", "pages": "\(pages.count)"]
        guard !alerts.isEmpty, !pages.isEmpty else {
            return .fail("there are no alerts or no pages to be found", evidence)
        }
        let wrong = missing.map { "\($0) has no page" } + silent.map { "the page of \($0) lacks a part" }
        return .judge(wrong.isEmpty, wrong.joined(separator: "; "), evidence)
    }

    /// Whether a page has all its parts, with something in each.
    private static func saysWhatToDo(_ path: String) -> Bool {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else { return false }
        var parts: [String: String] = [:]
        for part in text.components(separatedBy: "\n## ").dropFirst() {
            let lines = part.split(separator: "\n", maxSplits: 1)
            parts[String(lines.first ?? "")] = lines.count > 1 ? String(lines[1]) : ""
        }
        return ["Meaning", "Impact", "Check", "Mend"].allSatisfy {
            !(parts[$0] ?? "").trimmingCharacters(in: .whitespacesAndNewlines).isEmpty
        }
    }
}

/// A program that is run to its end, its output kept.
struct ChildCommand {
    private let program: String
    private let arguments: [String]

    init(_ program: String, _ arguments: [String]) {
        self.program = program
        self.arguments = arguments
    }

    func run() async throws -> (code: Int32, text: String) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: self.program)
        process.arguments = self.arguments
        let output = Pipe()
        process.standardOutput = output
        process.standardError = output
        try process.run()
        // Ends when the program does; its output is some lines.
        let data = try output.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        return (process.terminationStatus, String(String(decoding: data, as: UTF8.self).prefix(1_000)))
    }
}
