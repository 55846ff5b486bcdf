import Foundation
import Model
import ServiceRuntime
import Testing

@testable import Gateway

@Suite("Gateway settings")
struct GatewaySettingsTests {
    private func faults(_ change: (inout [String: String], URL) throws -> Void) throws -> [String] {
        let folder = try OpenSSL.folder()
        defer { try? FileManager.default.removeItem(at: folder) }
        let pair = try OpenSSL.selfSigned(in: folder, name: "a")
        let secret = folder.appendingPathComponent("secret").path
        try Data("0123456789abcdef0123456789abcdef\n".utf8).write(to: URL(fileURLWithPath: secret))
        var environment = [
            "DATABASE_URL": "postgres://localhost/x", "TLS_CERTIFICATE_FILE": pair.certificate,
            "TLS_KEY_FILE": pair.key, "CALLER_TOKEN_SECRET_FILE": secret,
        ]
        try change(&environment, folder)
        do throws(SettingsError) {
            _ = try GatewaySettings(GatewayService.settingsLoader.load(environment: environment))
            return []
        } catch {
            return error.faults
        }
    }

    @Test("a complete configuration is taken, with the values it names")
    func complete() throws {
        #expect(try self.faults { _, _ in }.isEmpty)
        #expect(
            try self.faults { environment, _ in
                environment["UPSTREAM_GRAPH_BUILDER"] = "http://a:1, b:2"
                environment["RATE_LIMITER_REFILL_RATE"] = "0.5"
            }.isEmpty)
    }

    /// Seen to fail: without proving that the pair belongs together.
    @Test("a certificate and a key that do not belong together stop the start and name the key")
    func mismatchedPair() throws {
        let faults = try self.faults { environment, folder in
            environment["TLS_KEY_FILE"] = try OpenSSL.selfSigned(in: folder, name: "b").key
        }
        #expect(faults.count == 1)
        #expect(faults.first?.hasPrefix("TLS_KEY_FILE must be the key") == true)
    }

    @Test(
        "what is missing or wrong is named",
        arguments: [
            ("TLS_CERTIFICATE_FILE", "", "TLS_CERTIFICATE_FILE"), ("TLS_KEY_FILE", "/nowhere", "TLS_KEY_FILE"),
            ("CALLER_TOKEN_SECRET_FILE", "", "CALLER_TOKEN_SECRET_FILE"),
            ("UPSTREAM_GRAPH_BUILDER", "http://a/path", "UPSTREAM_GRAPH_BUILDER"),
            ("RATE_LIMITER_TOKENS", "0", "RATE_LIMITER_TOKENS"), ("TLS_KEYFILE", "x", "TLS_KEYFILE"),
            // More than services take of a request's deadline.
            ("REQUEST_TIMEOUT_MS", "600001", "REQUEST_TIMEOUT_MS"),
            ("RATE_LIMITER_TOKEN", "5", "RATE_LIMITER_TOKEN"), ("JWKS_FILE", "/etc/hostname", "JWT_ISSUER"),
        ])
    func wrong(key: String, value: String, named: String) throws {
        let faults = try self.faults { environment, _ in environment[key] = value }
        #expect(faults.contains { $0.contains(named) }, "\(faults)")
    }

    /// Seen to fail: with the setting of the key named for a file that is no certificate.
    @Test("files that are no certificate or key are refused by the name of their setting")
    func notPEM() throws {
        let folder = try OpenSSL.folder()
        defer { try? FileManager.default.removeItem(at: folder) }
        let pair = try OpenSSL.selfSigned(in: folder, name: "a")
        func key(_ certificate: String, _ key: String) -> String? {
            do throws(TLSFiles.Refusal) {
                _ = try TLSFiles.configuration(certificateFile: certificate, keyFile: key)
                return nil
            } catch {
                return error.key
            }
        }
        #expect(key(pair.certificate, pair.key) == nil)
        #expect(key(pair.key, pair.key) == TLSFiles.certificateKey)
        #expect(key("/nowhere", pair.key) == TLSFiles.certificateKey)
        #expect(key(pair.certificate, pair.certificate) == TLSFiles.privateKeyKey)
    }

    @Test("what a key needs is checked before it is made")
    func newKeys() throws {
        #expect(try NewAPIKey(caller: "a", scopes: ["read", "read"], expiresInDays: nil).scopes == [.read])
        for (caller, scopes, days) in [("", ["read"], nil), ("a", [], nil), ("a", ["x"], nil), ("a", ["read"], 3_651)] {
            #expect(throws: ValidationError.self) {
                try NewAPIKey(caller: caller, scopes: scopes, expiresInDays: days)
            }
        }
    }
}
