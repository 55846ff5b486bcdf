import Foundation
import Testing

extension ProcessTests {
    /// A wrong setting stops the start, with exit code 64 and the key by name.
    @Suite("Configuration")
    struct ConfigurationTests {
        @Test(
            "a typo in a key of ours and a bad value stop the start and name the key",
            arguments: Stack.serviceNames,
            [
                ("DATABASE_POOL_MAXIMUM", "3"), ("HTTP_PROT", "1"), ("HTTP_PORT", "eighty"), ("METRICS_PORT", "70000"),
                ("LOG_LEVEL", "loud"), ("DATABASE_URL", ""),
            ])
        func environment(service: String, setting: (key: String, value: String)) async throws {
            let stack = try await Stack.shared()
            let output = try await stack.runToEnd(service, ["serve"], [setting.key: setting.value], expecting: 64)
            #expect(output.contains(setting.key), "\(output.suffix(500))")
            _ = try await stack.runToEnd(service, ["check-config"], [setting.key: setting.value], expecting: 64)
        }

        @Test(
            "a typo in a key of one service's own, a value out of its range and a file that is missing are named too",
            arguments: [
                ("graph-builder", "LEASE_SECONDZ", "10"), ("graph-builder", "LEASE_SECONDS", "0"),
                ("graph-builder", "CALLER_TOKEN_SECRET_FILE", "/nowhere/secret"),
                ("anomaly-propagation", "ROOT_CAUSE_CONCURENCY", "2"),
                ("anomaly-propagation", "ROOT_CAUSE_CONCURRENCY", "none"),
                ("anomaly-propagation", "CALLER_TOKEN_SECRET_FILE", "/nowhere/secret"),
                ("gateway", "RATE_LIMITER_TOKEN", "5"), ("gateway", "RATE_LIMITER_TOKENS", "-1"),
                ("gateway", "TLS_KEY_FILE", "/nowhere/key.pem"),
            ])
        func own(service: String, key: String, value: String) async throws {
            let stack = try await Stack.shared()
            let output = try await stack.runToEnd(service, ["serve"], [key: value], expecting: 64)
            #expect(output.contains(key), "\(output.suffix(500))")
        }

        @Test("an unknown key in the configuration file stops the start and is named", arguments: Stack.serviceNames)
        func file(service: String) async throws {
            let stack = try await Stack.shared()
            let path = stack.folder + "/\(service)-typo.json"
            try #"{"log": {"levle": "info"}}"#.write(toFile: path, atomically: true, encoding: .utf8)
            let output = try await stack.runToEnd(service, ["check-config"], ["CONFIG_FILE": path], expecting: 64)
            #expect(output.lowercased().contains("levle"), "\(output.suffix(500))")
        }

        @Test(
            "a good configuration passes, is printed without secrets, and the version is known",
            arguments: Stack.serviceNames)
        func good(service: String) async throws {
            let stack = try await Stack.shared()
            try await stack.runToEnd(service, ["check-config"])
            let printed = try await stack.runToEnd(service, ["print-config"])
            #expect(!printed.contains(stack.databaseURL))
            try await stack.runToEnd(service, ["version"])
            try await stack.runToEnd(service, ["healthcheck"])
        }
    }
}
