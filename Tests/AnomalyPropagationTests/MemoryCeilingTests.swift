import Model
import Postgres
import ServiceRuntime
import Synchronization
import TestSupport
import Testing

@testable import AnomalyPropagation

@Suite("Memory ceiling of anomaly-propagation")
struct MemoryCeilingTests {
    /// Bytes as a test wants them, and how often caches were emptied.
    private final class Process: Sendable {
        let bytes = Mutex(0)
        let emptied = Mutex(0)
    }

    private static func eventually(_ condition: () async throws -> Bool) async throws -> Bool {
        let deadline = ContinuousClock.now + .seconds(20)
        while ContinuousClock.now < deadline {
            if try await condition() { return true }
            try await Task.sleep(for: .milliseconds(50))
        }
        return false
    }

    /// Seen to fail: with a guard that never comes to shedding.
    @Test(
        "at the ceiling root causes and propagation are refused, lists go on, caches are emptied, and it resumes by itself"
    )
    func shedding() async throws {
        let process = Process()
        let memory = MemoryMonitor(
            ceilingBytes: 1_000, refused: "nothing is computed", logger: .silent,
            used: { process.bytes.withLock { $0 } }, shrink: { process.emptied.withLock { $0 += 1 } })
        let watching = Task { try await memory.run() }
        defer { watching.cancel() }
        let causes = #"{"from":"2026-01-01T00:00:00Z","to":"2026-01-01T00:05:00Z"}"#
        let propagation = #"{"source":{"domain":"d","event":"e","market":"m","venue":"v"},"depth":2,"shock":1}"#
        try await Door.open(memory: memory) { _, door in
            func statuses() async throws -> [Int] {
                [
                    try await door.post("/v1/root-causes", causes).status,
                    try await door.post("/v1/propagation", propagation).status,
                    try await door.get("/v1/anomalies").status,
                ]
            }
            // Nothing was ever observed here.
            #expect(try await statuses() == [404, 404, 200])
            // Caches go first.
            process.bytes.withLock { $0 = 860 }
            #expect(try await Self.eventually { process.emptied.withLock { $0 > 0 } })
            #expect(try await statuses() == [404, 404, 200])
            process.bytes.withLock { $0 = 960 }
            #expect(try await Self.eventually { try await statuses() == [503, 503, 200] })
            let refusal = try await door.post("/v1/root-causes", causes).json
            #expect(refusal["code"] as? String == "MEMORY_LIMIT_EXCEEDED" && refusal["retryAfter"] != nil, "\(refusal)")
            #expect(memory.reason == "nothing is computed: 960 of 1000 bytes of memory are in use")
            process.bytes.withLock { $0 = 890 }
            #expect(try await Self.eventually { try await statuses() == [404, 404, 200] })
            // A higher ceiling by reloading has the same effect.
            process.bytes.withLock { $0 = 1_000 }
            #expect(try await Self.eventually { memory.isShedding })
            memory.set(ceilingBytes: 2_000)
            #expect(try await Self.eventually { !memory.isShedding && memory.reason == nil })
        }
    }
}
