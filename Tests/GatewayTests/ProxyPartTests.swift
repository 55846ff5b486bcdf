import Crypto
import Foundation
import Model
import NIOCore
import ServiceRuntime
import Telemetry
import Testing

@testable import Gateway

@Suite("Parts of the proxy")
struct ProxyPartTests {
    @Test("a caller token is signed once per caller and half a minute, and services believe it")
    func mint() throws {
        let key = SymmetricKey(size: .bits256)
        let mint = CallerTokenMint(secret: { key })
        let caller = Caller(name: "a", scopes: [.read], credential: .apiKey, keyID: "k")
        let first = try mint.token(for: caller, nowMs: 1_000)
        #expect(try mint.token(for: caller, nowMs: 30_999) == first)
        let second = try mint.token(for: caller, nowMs: 31_000)
        #expect(second != first)
        #expect(CallerToken(verifying: first, secret: key, nowMs: 60_999)?.caller == "a")
        #expect(CallerToken(verifying: first, secret: key, nowMs: 61_000) == nil)
        let wider = Caller(name: "a", scopes: [.read, .admin], credential: .apiKey, keyID: "l")
        #expect(
            CallerToken(verifying: try mint.token(for: wider, nowMs: 31_000), secret: key, nowMs: 31_000)?.scopes == [
                .read, .admin,
            ])
        #expect(throws: CallerTokenMint.NoSecret.self) {
            try CallerTokenMint(secret: { nil }).token(for: caller, nowMs: 0)
        }
    }

    @Test("the mint's tokens pass the services' own check, also after the secret was rotated")
    func tokenIsAccepted() throws {
        let folder = try OpenSSL.folder()
        defer { try? FileManager.default.removeItem(at: folder) }
        let file = folder.appendingPathComponent("secret")
        let (old, new) = ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210")
        try Data("\(new)\n\(old)\n".utf8).write(to: file)
        let secrets = try CallerTokenSecrets(path: file.path)
        let caller = Caller(name: "a", scopes: [.read], credential: .jwt, keyID: nil)
        for secret in [old, new] {
            let text = try CallerTokenMint(secret: { SymmetricKey(data: Data(secret.utf8)) }).token(
                for: caller, nowMs: 5)
            #expect(secrets.verify(text, nowMs: 10)?.caller == "a")
        }
        let text = try CallerTokenMint(secret: { secrets.signing }).token(for: caller, nowMs: 5)
        #expect(CallerToken(verifying: text, secret: SymmetricKey(data: Data(new.utf8)), nowMs: 10) != nil)
    }

    @Test("a repeated or wrong traceparent starts a new trace, a right one is continued with a span of our own")
    func trace() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        func trace(_ parents: [String], isTrusted: Bool = true) -> EdgeTrace {
            var random = FastRandom()
            var fields = FieldBlock(table: HopByHop.requestTable)
            for parent in parents { fields.append("traceparent", parent) }
            fields.append("tracestate", "a=b")
            return EdgeTrace(
                fields: fields, isTrusted: isTrusted, startMs: 0, recorder: TraceRecorder(), random: &random)
        }
        let continued = trace([parent])
        #expect(continued.traceID == "4bf92f3577b34da6a3ce929d0e0e4736")
        #expect(continued.context.spanID.description != "00f067aa0ba902b7")
        #expect(continued.state == "a=b")
        #expect(trace([parent], isTrusted: false).traceID != continued.traceID)
        for wrong in [[], [parent, parent], ["garbage"], [parent.uppercased()], [parent + "-x"]] {
            let fresh = trace(wrong)
            #expect(fresh.traceID != "4bf92f3577b34da6a3ce929d0e0e4736")
            #expect(fresh.state == nil)
        }
    }

    @Test("an address spends from its own bucket, an IPv6 address from that of its network")
    func peers() {
        #expect(PeerKey.of("192.0.2.7") == "192.0.2.7")
        #expect(PeerKey.of("2001:db8:1:2:3:4:5:6") == "2001:db8:1:2")
        #expect(PeerKey.of("2001:db8::9") == PeerKey.of("2001:db8:0:0:ffff::1"))
        #expect(PeerKey.of("::ffff:192.0.2.7") == "192.0.2.7")
        #expect(PeerKey.of(nil) == "local")
    }

    @Test("what a client writes cannot forge lines of the log")
    func safeText() {
        #expect(AccessRecord.safe("curl/8\n{\"a\":1}") == "curl/8?{\"a\":1}")
        #expect(AccessRecord.safe(nil) == "-")
        #expect(AccessRecord.safe(String(repeating: "é", count: 200)).utf8.count == 128)
    }

    @Test("no more requests are let in than have places, and a place given back is free")
    func inFlight() {
        let inFlight = InFlight(limit: 2)
        #expect(inFlight.enter())
        #expect(inFlight.enter())
        #expect(!inFlight.enter())
        #expect(inFlight.count == 2)
        inFlight.leave()
        #expect(inFlight.count == 1)
        #expect(inFlight.enter())
    }
}
