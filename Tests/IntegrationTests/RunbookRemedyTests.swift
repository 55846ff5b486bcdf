import Foundation
import Model
import Postgres
import TestSupport
import Testing
import Yams

extension ProcessTests {
    /// Nothing that a page tells somebody to do may be beyond what is there: each thing named under "Mend" is run, or looked up where
    /// it would have to be.
    @Suite("Remedies of the runbooks", .serialized)
    struct RunbookRemedies {
        /// Seen to fail: with a head of another name.
        @Test("every page has its four parts, in the order in which they are needed, and leads to pages there are")
        func parts() {
            let names = Set(RunbookRemedy.pages.map { String($0.name.dropLast(3)) })
            #expect(names.count > 20)
            for page in RunbookRemedy.pages {
                let heads = page.text.matches(of: /\n## (\w+)\n/).map { String($0.output.1) }
                #expect(heads == ["Meaning", "Impact", "Check", "Mend"], "\(page.name)")
                for match in page.text.matches(of: /Undercurrent[A-Z][A-Za-z]+/) {
                    #expect(names.contains(String(match.output)), "\(match.output) of \(page.name)")
                }
            }
        }

        /// Seen to fail: with a function PostgreSQL has not.
        @Test("statements run on the schema as it is", .timeLimit(.minutes(2)))
        func statements() async throws {
            #expect(RunbookRemedy.of(.statement).count >= 4)
            try await TestDatabase.with { database in
                try await database.withPool { pool in
                    let day = Timestamp(milliseconds: 1_767_225_600_000)
                    try await ObservationPartitions(logger: .silent).ensure(
                        [ObservationPartitions.Day(containing: day)], pool: pool)
                    let partition = try await pool.query(
                        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'observations'::regclass LIMIT 1"
                    ).column(String.self)[0]
                    let victim = try await PostgresConnection.connect(database.configuration)
                    let process = try await victim.query("SELECT pg_backend_pid()").column(Int32.self)[0]
                    for remedy in RunbookRemedy.of(.statement) {
                        let text =
                            remedy.text.replacing("PID", with: "\(process)")
                            .replacing("PARTITION name", with: "PARTITION \(partition)")
                            + (remedy.text.hasSuffix(" TO") ? " CURRENT_USER" : "")
                        do {
                            try await pool.query(PostgresStatement(composed: text))
                        } catch let error as PostgresError where error.sqlState == "55000" && text.hasSuffix("FINALIZE")
                        {
                            // Its detaching is not pending: the partition was found, and there is nothing to end.
                        } catch {
                            Issue.record("\(remedy.testDescription): \(String(reflecting: error))")
                        }
                    }
                    await #expect(throws: PostgresError.self) { try await victim.query("SELECT 1") }
                    await victim.close()
                }
            }
        }

        /// Seen to fail: with a key and a value that no program takes.
        @Test("settings are ones a program takes, with the values that are told", .timeLimit(.minutes(2)))
        func settings() async throws {
            #expect(RunbookRemedy.of(.setting).count >= 8)
            let stack = try await Stack.shared()
            var known: [String: Set<String>] = [:]
            for program in Stack.serviceNames {
                let printed = try await stack.runToEnd(program, ["print-config"])
                known[program] = Set(
                    printed.matches(of: /(?m)^(?:# )?([A-Z][A-Z0-9_]+)(?:=| is not set)/).map { String($0.output.1) })
                #expect((known[program]?.count ?? 0) > 20, "\(printed.prefix(500))")
            }
            for remedy in RunbookRemedy.of(.setting) {
                let parts = remedy.text.components(separatedBy: ": ")
                let isStem = parts[0].hasSuffix("*")
                let takers = known.filter { entry in
                    entry.value.contains { isStem ? $0.hasPrefix(parts[0].dropLast()) : $0 == parts[0] }
                }
                #expect(!takers.isEmpty, "\(remedy.testDescription)")
                guard parts.count == 2 else { continue }
                for program in takers.keys {
                    try await stack.runToEnd(program, ["print-config"], [parts[0]: parts[1]])
                }
            }
        }

        /// Seen to fail: with a value the chart has not, and a route with a letter less.
        @Test("values are ones the chart has, routes and codes ones of the API")
        func names() throws {
            let path = ModuleDependencyTests.root.appending(path: "helm/undercurrent/values.yaml").path
            let values = try #require(
                try Yams.load(yaml: String(contentsOfFile: path, encoding: .utf8)) as? [String: Any])
            let paths = Self.paths(of: values, "")
            #expect(RunbookRemedy.of(.value).count > 8 && paths.count > 60)
            for remedy in RunbookRemedy.of(.value) {
                // Of a service, where the page says so: `autoscaling.maxReplicas`.
                #expect(
                    paths.contains { $0 == remedy.text || $0.hasSuffix("." + remedy.text) }, "\(remedy.testDescription)"
                )
            }
            for remedy in RunbookRemedy.of(.route) {
                #expect(
                    APIRoute.all.contains { "\($0.method.rawValue) \($0.path)" == remedy.text },
                    "\(remedy.testDescription)")
            }
        }

        private static func paths(of values: [String: Any], _ above: String) -> [String] {
            values.flatMap { key, value -> [String] in
                [above + key] + Self.paths(of: value as? [String: Any] ?? [:], above + key + ".")
            }
        }

        /// Seen to fail: with a kind, a pattern and a word of a log that are nowhere. It found that no program said a
        /// word of circuits.
        @Test("commands for a cluster, of every part, name objects, labels and words of logs that there are")
        func cluster() async throws {
            #expect(RunbookSources.objects.count > 40 && RunbookSources.logCalls.count > 30)
            let commands =
                RunbookCommand.all.filter { $0.program == "kubectl" }.map { (page: $0.page, text: $0.text) }
                + RunbookRemedy.of(.kubectl).filter { $0.text != "kubectl describe" }.map {
                    (page: $0.page, text: $0.text)
                }
            #expect(commands.count > 30)
            for command in commands {
                if let fault = RunbookSources.fault(kubectl: command.text) {
                    Issue.record("\(command.page): \(command.text): \(fault)")
                }
            }
            for remedy in RunbookRemedy.of(.search) {
                #expect(RunbookSources.fault(search: remedy.text) == nil, "\(remedy.testDescription)")
            }
            for remedy in RunbookRemedy.of(.helm) {
                let guide = try String(
                    contentsOfFile: RunbookSources.root + "/docs/deploy.md", encoding: .utf8)
                #expect(remedy.text == "helm rollback undercurrent -n undercurrent" && guide.contains("undercurrent"))
            }
        }

        /// Seen to fail: with a flag kubectl has not.
        @Test(
            "a Secret is made anew by the command that is told, from a certificate and its key",
            .enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/bin/kubectl"), "needs kubectl"))
        func secret() async throws {
            let stack = try await Stack.shared()
            let told = try #require(RunbookRemedy.of(.kubectl).first { $0.text.contains("create secret tls") }).text
            // What comes behind needs a cluster.
            let command = told.components(separatedBy: " | ")[0]
                .replacing("--cert=...", with: "--cert=\(stack.folder)/server.pem")
                .replacing("--key=...", with: "--key=\(stack.folder)/server-key.pem")
            try ChildProgram.run([
                "/bin/bash", "-uo", "pipefail", "-c", command + " | grep -q 'name: undercurrent-tls'",
            ])
        }

        /// Seen to fail: with a message of the log in other words.
        @Test("words are those of our programs, of their metrics and manifests, or of PostgreSQL")
        func words() async throws {
            let server = try await TestDatabase.with { database in
                try await database.withPool { pool in
                    try await pool.query("SELECT name FROM pg_settings UNION SELECT tablename FROM pg_tables")
                        .column(String.self)
                }
            }
            for remedy in RunbookRemedy.of(.word) {
                let isCode = Problem.Code(rawValue: remedy.text) != nil
                let isOurs =
                    RunbookSources.programLines.contains { $0.contains(remedy.text) }
                    || RunbookSources.monitoring.contains("\(remedy.text):")
                    || RunbookSources.monitoring.contains("name: \(remedy.text)\n")
                    || RunbookSources.manifests.contains { $0.contains(": \(remedy.text)\n") }
                #expect(
                    isCode || isOurs || server.contains(remedy.text) || RunbookSources.isOfOthers(remedy.text),
                    "\(remedy.testDescription)")
            }
        }
    }
}
