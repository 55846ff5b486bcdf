import Crypto
import Foundation
import Model
import Testing

@testable import ServiceRuntime

@Suite("Health, secrets and version")
struct RuntimeStateTests {
    private func monitor(_ database: (@Sendable () async throws -> Duration)? = nil) -> HealthMonitor {
        HealthMonitor(service: "s", version: "1", database: database)
    }

    @Test("a service is ready between its start and its drain")
    func readiness() async {
        let monitor = self.monitor { .milliseconds(2) }
        #expect(await monitor.readiness().reasons == ["the service is starting"])
        monitor.markStarted()
        #expect(await monitor.readiness().isReady)
        #expect(await monitor.report().metrics.dbLatency == 2)
        monitor.startDraining()
        #expect(await monitor.readiness().reasons == ["the service is stopping"])
    }

    @Test("a database that fails stops traffic, a lesser check only degrades")
    func checks() async {
        let failing = self.monitor { throw CancellationError() }
        failing.markStarted()
        #expect(await !failing.readiness().isReady)
        let degraded = self.monitor()
        degraded.markStarted()
        degraded.add(HealthMonitor.Check("disk", stopsTraffic: false) { "the disk is slow" })
        #expect(await degraded.readiness().isReady)
        let report = await degraded.report()
        #expect(report.status == .degraded && report.reasons == ["the disk is slow"])
    }

    @Test("a file of secrets accepts all, signs with the first, and a change of it is seen")
    func secrets() async throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID())").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        func write(_ lines: [UInt8]) throws {
            let text = lines.map { Data(repeating: $0, count: 32) + [0x0A] }.reduce(Data(), +)
            try text.write(to: URL(fileURLWithPath: path))
        }
        func signed(_ byte: UInt8) throws -> String {
            try CallerToken(caller: "c", scopes: [.read], expiresAtMs: 1_000)
                .signed(with: SymmetricKey(data: Data(repeating: byte, count: 32)))
        }
        try write([0x61, 0x62])
        let secrets = try CallerTokenSecrets(path: path)
        #expect(secrets.signing == SymmetricKey(data: Data(repeating: 0x61, count: 32)))
        for byte: UInt8 in [0x61, 0x62] {
            #expect(secrets.verify(try signed(byte), nowMs: 999) != nil)
            #expect(secrets.verify(try signed(byte), nowMs: 1_000) == nil, "a remembered token expires too")
        }
        try write([0x63])
        try await Task.sleep(for: .milliseconds(1_100))
        #expect(secrets.verify(try signed(0x63), nowMs: 0) != nil)
        #expect(secrets.verify(try signed(0x61), nowMs: 0) == nil, "a remembered token of a secret that is gone")
    }

    @Test("a file of secrets that is missing, empty or has a short line is refused by the name of its key")
    func badSecrets() throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID())").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        for content in [nil, "", String(repeating: "x", count: 31), String(repeating: "x", count: 32) + "\nshort\n"] {
            try content.map { try Data($0.utf8).write(to: URL(fileURLWithPath: path)) }
            let error = #expect(throws: SettingsError.self) { try CallerTokenSecrets(path: path) }
            #expect(error?.faults.first?.hasPrefix("CALLER_TOKEN_SECRET_FILE must") == true)
        }
    }

    @Test("the commit is shown only when it looks like one")
    func version() {
        #expect(BuildVersion.commit(environment: ["UNDERCURRENT_COMMIT": "1f2e3d"]) == "1f2e3d")
        for bad in ["", "a b", "<x>", String(repeating: "a", count: 65)] {
            #expect(BuildVersion.commit(environment: ["UNDERCURRENT_COMMIT": bad]) == "unknown")
        }
    }

    @Test("two steps of typing are found, further ones are not")
    func nearest() {
        let names = ["HTTP_PORT", "HTTP_HOST", "LOG_LEVEL"]
        #expect(EditDistance.nearest(to: "HTTP_PROT", among: names) == "HTTP_PORT")
        #expect(EditDistance.nearest(to: "HTTP_XXRT", among: names) == "HTTP_PORT")
        #expect(EditDistance.nearest(to: "HTTP_XXXX", among: names) == nil)
        #expect(EditDistance.between("kitten", "sitting") == 3 && EditDistance.between("", "ab") == 2)
    }
}
