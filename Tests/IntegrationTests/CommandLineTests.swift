import Foundation
import Glibc
import TestSupport
import Testing

extension ProcessTests {
    @Suite("Habits of the command line")
    struct CommandLine {
        /// Runs a program to its end, whatever comes of it.
        private static func output(
            _ product: String, _ words: [String], _ settings: [String: String] = [:]
        ) async throws -> (code: CInt, text: String) {
            let log = NSTemporaryDirectory() + "command-\(UUID().uuidString).log"
            defer { unlink(log) }
            let program = try RunningProgram(product, words, settings: settings, log: log)
            return (try await program.waitForExit(seconds: 60), program.output)
        }

        @Test(
            "help has examples and exit codes",
            arguments: [
                ("graph-builder", ["replay"]), ("graph-builder", ["report"]), ("graph-builder", ["verify"]),
                ("graph-builder", ["snapshot"]), ("anomaly-propagation", ["readiness"]),
                ("anomaly-propagation", ["readiness", "import"]), ("anomaly-propagation", ["readiness", "export"]),
                ("gateway", []),
            ])
        func help(product: String, words: [String]) async throws {
            let (code, text) = try await Self.output(product, words + ["--help"])
            #expect(code == 0 && text.contains("Exit codes:"), "\(text)")
            let examples = text.components(separatedBy: "Examples:").dropFirst().first ?? ""
            #expect(examples.contains(([product] + words.prefix(1)).joined(separator: " ")), "\(text)")
        }

        @Test(
            "completions for each shell know the commands, and bash takes theirs", arguments: Stack.serviceNames,
            ["bash", "zsh", "fish"])
        func completions(product: String, shell: String) async throws {
            let (code, text) = try await Self.output(product, ["--generate-completion-script", shell])
            #expect(code == 0 && text.contains("check-config") && text.contains("healthcheck"))
            let own = ["graph-builder": "snapshot", "anomaly-propagation": "readiness", "gateway": "keys"]
            #expect(text.contains(own[product] ?? "-"))
            guard shell == "bash" else { return }
            let file = NSTemporaryDirectory() + "completion-\(UUID().uuidString)"
            defer { unlink(file) }
            try text.write(toFile: file, atomically: true, encoding: .utf8)
            try ChildProgram.run(["/bin/bash", "-n", file])
        }

        @Test("the version names the commit it was started with, for people and for programs")
        func version() async throws {
            struct Facts: Decodable, Equatable {
                var service: String
                var version: String
                var commit: String
            }
            for (commit, shown) in [("1f2e3d4c5b6a-dirty", "1f2e3d4c5b6a-dirty"), ("", "unknown")] {
                let settings = ["UNDERCURRENT_COMMIT": commit]
                let json = try await Self.output("gateway", ["version", "--output", "json"], settings)
                let facts = try JSONDecoder().decode(Facts.self, from: Data(json.text.utf8))
                #expect(facts.service == "gateway" && facts.commit == shown)
                let text = try await Self.output("gateway", ["version"], settings).text
                #expect(text == "gateway \(facts.version) (\(shown))\n")
            }
        }

        @Test(
            "colours are for people at a terminal who want them",
            .enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/bin/script"), "no script(1)"))
        func colours() async throws {
            let stack = try await Stack.shared()
            let log = stack.folder + "/colours.log"
            let program = RunningProgram.products + "/anomaly-propagation"
            func output(_ more: [String], atTerminal: Bool = true) throws -> String {
                unlink(log)
                let settings = stack.settings("anomaly-propagation").map { "\($0.key)=\($0.value)" }
                let command = atTerminal ? "'\(program)' readiness show" : "'\(program)' readiness show | cat"
                try ChildProgram.run(
                    ["/usr/bin/timeout", "30", "/usr/bin/env", "-i", "PATH=/usr/bin:/bin"] + settings + more
                        + ["/usr/bin/script", "-qc", command, log])
                return try String(contentsOfFile: log, encoding: .utf8)
            }
            let escape = "\u{1B}["
            let colored = try output(["TERM=xterm"])
            #expect(colored.contains(escape) && colored.contains("rate_limiting"), "\(colored)")
            for plain in [
                try output(["TERM=xterm", "NO_COLOR=1"]), try output(["TERM=dumb"]),
                try output(["TERM=xterm"], atTerminal: false),
            ] {
                #expect(!plain.contains(escape) && plain.contains("rate_limiting"), "\(plain)")
            }
        }
    }
}

/// `scripts/commit.sh`: which build this is.
@Suite("The stamp of a build")
struct BuildStampTests {
    @Test("it is the commit of our checkout, marked where files differ from it, and nothing where there is none")
    func stamp() throws {
        let folder = NSTemporaryDirectory() + "stamp-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let tree = folder + "/outer/tree"
        try FileManager.default.createDirectory(atPath: tree + "/scripts", withIntermediateDirectories: true)
        let script = ModuleDependencyTests.root.appending(path: "scripts/commit.sh").path
        try FileManager.default.copyItem(atPath: script, toPath: tree + "/scripts/commit.sh")
        func git(_ words: String..., in path: String) throws {
            try ChildProgram.run(
                ["/usr/bin/env", "git", "-C", path, "-c", "user.name=t", "-c", "user.email=t@localhost"] + words)
        }
        func stamp() throws -> String {
            let file = folder + "/said"
            try ChildProgram.run(["/bin/sh", "-c", "'\(tree)/scripts/commit.sh' > '\(file)'"])
            return try String(contentsOfFile: file, encoding: .utf8)
        }
        #expect(try stamp().isEmpty)
        // Somebody else's checkout around ours says nothing about us.
        try git("init", "-q", in: folder + "/outer")
        try git("commit", "-q", "--allow-empty", "-m", "theirs", in: folder + "/outer")
        #expect(try stamp().isEmpty)
        try git("init", "-q", in: tree)
        try git("add", ".", in: tree)
        try git("commit", "-q", "-m", "ours", in: tree)
        let clean = try stamp()
        #expect(clean.wholeMatch(of: /[0-9a-f]{12}\n/) != nil, "\(clean)")
        try "new".write(toFile: tree + "/added.swift", atomically: true, encoding: .utf8)
        #expect(try stamp() == clean.dropLast() + "-dirty\n")
        try git("add", ".", in: tree)
        try git("commit", "-q", "-m", "more", in: tree)
        #expect(try stamp() != clean && stamp().count == 13)
        try "changed".write(toFile: tree + "/added.swift", atomically: true, encoding: .utf8)
        #expect(try stamp().hasSuffix("-dirty\n"))
    }
}
