import Foundation
import Model
import NIOHTTP1

extension ReadinessTrials {
    func healthEndpoint() async throws -> ReadinessFinding {
        var evidence: [String: String] = [:]
        for path in ["/livez", "/readyz", "/health"] {
            evidence[path] = "\(try await self.probe.call(.GET, path, key: "").status)"
        }
        let health = try await self.probe.call(.GET, "/health", key: "").json
        let metrics = health["metrics"] as? [String: Any] ?? [:]
        let missing = ["dbLatency", "layerFailures", "activeConnections", "lastSuccessfulBuild", "failover"].filter {
            metrics[$0] == nil
        }
        evidence["status"] = health["status"] as? String ?? "none"
        let areWell = evidence.filter { $0.key.hasPrefix("/") }.values.allSatisfy { $0 == "200" }
        return .judge(
            areWell && missing.isEmpty && health["status"] != nil, "missing: \(missing.joined(separator: ", "))",
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
        let evidence = ["alerts": "\(alerts.count)", "pages": "\(pages.count)"]
        guard !alerts.isEmpty, !pages.isEmpty else {
            return .fail("there are no alerts or no pages to be found", evidence)
        }
        return .judge(missing.isEmpty, "without a page: \(missing.joined(separator: ", "))", evidence)
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
