import Foundation
import Logging
import Postgres
import Testing

@testable import ServiceRuntime

@Suite("Settings")
struct SettingsTests {
    private static let url = "postgres://desk:hunter2@db/undercurrent"
    private let loader = SettingsLoader(
        service: "s",
        table: Setting.shared(httpPort: 8_081, metricsPort: 9_081) + [
            Setting("ENGINE_LEVEL", .flag, default: "false", "x")
        ],
        prefixes: ["ENGINE_"])

    private func load(_ environment: [String: String], url: String? = Self.url) throws -> ServiceSettings {
        var environment = environment
        if environment["DATABASE_URL"] == nil { environment["DATABASE_URL"] = url }
        return try self.loader.load(environment: environment)
    }

    private func faults(_ environment: [String: String], url: String? = Self.url) -> [String] {
        do {
            _ = try self.load(environment, url: url)
            return []
        } catch { return (error as? SettingsError)?.faults ?? ["\(error)"] }
    }

    private func withFile(_ text: String, _ body: (String) throws -> Void) throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID()).yaml").path
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        try body(path)
    }

    @Test("defaults hold, and the environment comes before the file")
    func order() throws {
        try self.withFile("http: {port: 1, maxInFlight: 7}\nLOG_LEVEL: debug\nengine.level: yes\n") { path in
            let settings = try self.load(["CONFIG_FILE": path, "HTTP_PORT": " 2 "])
            #expect(settings.httpPort == 2 && settings.integer("HTTP_MAX_IN_FLIGHT") == 7)
            #expect(settings.logLevel == .debug && settings.flag("ENGINE_LEVEL"))
            #expect(settings.metricsPort == 9_081 && settings.shutdownGrace == .seconds(20))
        }
    }

    @Test("the database's address may stand in a file of its own, but not in both places")
    func addressFile() throws {
        try self.withFile("  \(Self.url)\nsecond line\n") { path in
            let settings = try self.load(["DATABASE_URL_FILE": path], url: nil)
            #expect(settings.text("DATABASE_URL") == Self.url)
            #expect(try settings.database().connectionStringFile == path)
            #expect(!settings.rendered.contains("hunter2"))
            #expect(
                self.faults(["DATABASE_URL_FILE": path]) == ["DATABASE_URL and DATABASE_URL_FILE exclude each other"])
        }
        try self.withFile("\n") { path in
            #expect(
                self.faults(["DATABASE_URL_FILE": path], url: nil).first?.hasPrefix("DATABASE_URL is required") == true)
        }
    }

    @Test(
        "an unknown variable with one of our words is an error that names it and the nearest key",
        arguments: [
            ("HTTP_PROT", "HTTP_PORT"), ("DATABASE_ULR", "DATABASE_URL"), ("LOG_LEVLE", "LOG_LEVEL"),
            ("ENGINE_LEVELS", "ENGINE_LEVEL"), ("HUTDOWN_GRACE_SECONDS", "SHUTDOWN_GRACE_SECONDS"),
            ("TRACE_COLOUR", nil),
            ("UNDERCURRENT_X", nil),
        ] as [(String, String?)])
    func typo(name: String, meant: String?) throws {
        let fault = try #require(self.faults([name: "1"]).first)
        #expect(fault.hasPrefix("\(name) "))
        #expect(fault.hasSuffix(meant.map { "is \($0) meant?" } ?? "key of s"))
    }

    @Test(
        "what belongs to others does not stop the start",
        arguments: [
            "PATH", "HTTP_PROXY", "UNDERCURRENT_COMMIT", "RATE_LIMITER_TOKENS", "SNAPSHOT_DIR",
            "HTTP_SERVICE_HOST", "UNDERCURRENT_SERVICE_PORT", "DATABASE_PORT_5432_TCP_ADDR",
        ])
    func foreign(name: String) { #expect(self.faults([name: "1"]).isEmpty) }

    @Test(
        "a bad value names its key and rule, and the value",
        arguments: [
            ("HTTP_PORT", "eighty", "must be a whole number from 0 to 65535, not \"eighty\""),
            ("HTTP_PORT", "65536", "must be a whole number from 0 to 65535, not \"65536\""),
            ("TRACE_SAMPLE_RATIO", "nan", "must be a number from 0.0 to 1.0, not \"nan\""),
            ("LOG_FORMAT", "xml", "must be one of auto, json, text, not \"xml\""),
            ("ENGINE_LEVEL", "maybe", "must be true or false, not \"maybe\""),
            ("CALLER_TOKEN_SECRET_FILE", "/nowhere", "must name a file that can be read, not \"/nowhere\""),
            ("OTLP_ENDPOINT", "collector:4318", "must be an http or https URL with a host, not \"collector:4318\""),
        ])
    func badValue(key: String, value: String, rule: String) { #expect(self.faults([key: value]) == ["\(key) \(rule)"]) }

    @Test("a bad secret is never shown, and a required key that is missing is named with all other faults")
    func required() {
        #expect(self.faults(["DATABASE_URL": " "]) == ["DATABASE_URL must be a text"])
        let faults = self.faults(["HTTP_PORT": "x", "HTTP_HOTS": "y"], url: nil)
        #expect(faults.count == 3 && faults.contains { $0.hasPrefix("DATABASE_URL is required") })
    }

    @Test(
        "limits that contradict each other are an error that names both",
        arguments: [
            (["DATABASE_POOL_MIN": "9"], "DATABASE_POOL_MIN", "DATABASE_POOL_MAX"),
            (["DATABASE_POOL_MIN": "5", "DATABASE_POOL_MAX": "4"], "DATABASE_POOL_MIN", "DATABASE_POOL_MAX"),
            (["SHUTDOWN_GRACE_SECONDS": "2"], "SHUTDOWN_DRAIN_SECONDS", "SHUTDOWN_GRACE_SECONDS"),
            (["SHUTDOWN_DRAIN_SECONDS": "20"], "SHUTDOWN_DRAIN_SECONDS", "SHUTDOWN_GRACE_SECONDS"),
        ])
    func contradictions(environment: [String: String], first: String, second: String) throws {
        let faults = self.faults(environment)
        #expect(faults.count == 1)
        let fault = try #require(faults.first)
        #expect(fault.hasPrefix("\(first) must be") && fault.contains(second))
    }

    @Test("limits that just agree are taken")
    func agreement() {
        let environment = [
            "DATABASE_POOL_MIN": "4", "DATABASE_POOL_MAX": "4", "SHUTDOWN_DRAIN_SECONDS": "0",
            "SHUTDOWN_GRACE_SECONDS": "1",
        ]
        #expect(self.faults(environment).isEmpty)
    }

    @Test(
        "a file is refused for unknown keys, lists, keys that come twice and what is no mapping",
        arguments: [
            ("http: {prot: 1}", "is HTTP_PORT meant?"), ("colour: red", "COLOUR in "),
            ("http: {port: [1]}", "list at http.port"),
            ("HTTP_PORT: 1\nhttp: {port: 2}", "sets HTTP_PORT twice"), ("just text", "must be a mapping"),
            ("{\"a\": ", "neither JSON nor YAML"),
            ("a: {a: {a: {a: {a: {a: {a: {a: {a: 1}}}}}}}}", "nested too deeply"),
            ("http: {port: eighty}", "HTTP_PORT must be a whole number"),
        ])
    func badFile(text: String, fault: String) throws {
        try self.withFile(text) { path in
            let faults = self.faults(["CONFIG_FILE": path])
            #expect(faults.contains { $0.contains(fault) }, "\(faults)")
        }
    }

    @Test("when a failing dependency is left alone is a setting: five failures in a minute, and for 30 s, by default")
    func breaker() throws {
        #expect(try self.load([:]).breaker == CircuitBreaker.Rule())
        let rule = try self.load(
            ["BREAKER_FAILURES": "2", "BREAKER_WINDOW_SECONDS": "3", "BREAKER_PAUSE_SECONDS": "4"]
        ).breaker
        #expect(rule == CircuitBreaker.Rule(failures: 2, window: .seconds(3), pause: .seconds(4)))
        #expect(self.faults(["BREAKER_FAILURES": "0"]).contains { $0.contains("BREAKER_FAILURES") })
    }

    @Test("a file that is not there is an error")
    func noFile() { #expect(self.faults(["CONFIG_FILE": "/nowhere"]) == ["CONFIG_FILE /nowhere cannot be read"]) }

    @Test("print-config shows every key, where it came from, and no secret")
    func rendered() throws {
        let text = try self.load(["HTTP_PORT": "1"]).rendered
        #expect(!text.contains("hunter2"))
        let lines = text.split(separator: "\n").map(String.init)
        #expect(lines.count == self.loader.table.count)
        #expect(lines.contains("DATABASE_URL=(secret)") && lines.contains("HTTP_PORT=1"))
        #expect(lines.contains("METRICS_PORT=9081  # default") && lines.contains("# OTLP_ENDPOINT is not set"))
    }
}
