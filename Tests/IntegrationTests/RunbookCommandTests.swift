import Foundation
import Model
import TestSupport
import Testing

/// Commands of `docs/runbooks`, as they stand there.
struct RunbookCommand: Sendable, CustomTestStringConvertible {
    /// Programs that ask what a test system does not have, and why they are not run.
    static let elsewhere = [
        "kubectl": "needs a cluster", "promtool": "needs a Prometheus; names of metrics are looked at instead",
        "amtool": "needs an Alertmanager",
    ]

    let page: String
    let text: String

    var testDescription: String { "\(self.page): \(self.text)" }
    var program: String { String(self.text.prefix { $0 != " " }) }
    /// Without what only shortens the output for people: it would end the program before it. And a test system's door is at no
    /// port that may be named in a page.
    var whole: String {
        self.text.replacing(/\ \| (head|tail)( -[cn] \d+)?$/, with: "").replacing("$HOST:443", with: "$HOST")
    }

    static let all: [RunbookCommand] = {
        let folder = ModuleDependencyTests.root.appending(path: "docs/runbooks").path
        let pages = (try? FileManager.default.contentsOfDirectory(atPath: folder).sorted()) ?? []
        return pages.filter { $0.hasSuffix(".md") }.flatMap { page in
            let text = (try? String(contentsOfFile: "\(folder)/\(page)", encoding: .utf8)) ?? ""
            // Every second part lies between two fences.
            return text.components(separatedBy: "\n```").enumerated().filter { $0.offset % 2 == 1 }
                .flatMap { $0.element.split(separator: "\n") }
                .map { RunbookCommand(page: page, text: String($0).trimmingCharacters(in: .whitespaces)) }
        }
    }()
    static let here = Self.all.filter { Self.elsewhere[$0.program] == nil }
    static let queries = Self.all.filter { $0.program == "promtool" }
}

extension ProcessTests {
    @Suite("Commands of the runbooks", .serialized)
    struct RunbookCommands {
        /// What the pages leave to the reader to put in.
        private static func variables(_ faults: FaultStack) async throws -> [String: String] {
            let stack = faults.stack
            let refusal = try await stack.get("/v1/no-such-thing")
            // A client that fails where the answer is a refusal, and knows our authority.
            try "fail\n".write(toFile: stack.folder + "/.curlrc", atomically: true, encoding: .utf8)
            return [
                "PATH": ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin", "HOME": stack.folder,
                "CURL_CA_BUNDLE": stack.caFile, "SSL_CERT_FILE": stack.caFile,
                "DATABASE_URL": stack.databaseURL, "HOST": "localhost:\(stack.ports["gateway"]?.http ?? 0)",
                "KEY": try await stack.key(scopes: Stack.allScopes),
                "ADMIN_KEY": try await stack.key(scopes: "admin"), "EVENT": "fast-one",
                "TRACE_ID": refusal.problem?.traceId ?? "",
            ]
        }

        @Test("every command can be run as it stands", .timeLimit(.minutes(5)))
        func run() async throws {
            #expect(RunbookCommand.all.count > 60 && RunbookCommand.here.count > 10, "\(RunbookCommand.here)")
            let faults = try await FaultStack.shared()
            let variables = try await Self.variables(faults).map { "\($0.key)=\($0.value)" }
            for command in RunbookCommand.here {
                let words = ["/usr/bin/env", "-i"] + variables + ["/bin/bash", "-uo", "pipefail", "-c", command.whole]
                do { try ChildProgram.run(words) } catch { Issue.record("\(command.testDescription): \(error)") }
            }
        }

        @Test("every metric that is asked for is one that docs/metrics.md names", arguments: RunbookCommand.queries)
        func metrics(_ command: RunbookCommand) throws {
            let path = ModuleDependencyTests.root.appending(path: "docs/metrics.md").path
            let known = try String(contentsOfFile: path, encoding: .utf8)
            let query = try #require(command.text.split(separator: "'").dropFirst().first, "\(command)")
            // What stands in braces, in brackets and behind `by` are labels and times.
            let bare = query.replacing(/\{[^}]*\}|\[[^\]]*\]|\bby \([^)]*\)/, with: "")
            for match in bare.matches(of: /[a-z_]+_[a-z_]+/) where match.output != "histogram_quantile" {
                let name = match.output.replacing(/_(bucket|count|sum)$/, with: "")
                #expect(known.contains("`\(name)`"), "\(name) of \(command.page)")
            }
        }
    }
}
