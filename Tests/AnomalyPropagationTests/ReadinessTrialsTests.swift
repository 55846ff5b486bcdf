import Foundation
import Model
import Postgres
import ServiceRuntime
import Testing

@testable import AnomalyPropagation

/// Each check must fail where the promise is broken: a system that is sound but for one thing is judged by all that look at it.
@Suite("Checks that can fail")
struct ReadinessTrialsTests {
    private typealias Fault = StubSystem.Fault

    /// The faults each check must see.
    private static let seen: [(check: ReadinessCheck, faults: [StubSystem.Fault])] = [
        (.queryTimeout, [.notStopped, .stoppedAtOnce, .stoppedWithoutType, .stoppedUncounted]),
        (
            .distributedTracing,
            [
                .answersInOtherTrace, .servicesInOtherTrace, .answersUnsampled, .spansNotTaken, .spansLost, .noExemplar,
                .oneServiceWithoutCollector,
            ]
        ),
        (.prometheusMetrics, [.metricMissing, .metricStill, .histogramTorn]),
        (.sqlValidity, [.emptyEvent]), (.healthEndpoint, [.figureIsNull]), (.errorHandling, [.otherProblemTrace]),
        (.chaos, [.trialNotMet, .connectionsKept]), (.workerThreads, [.replicaWithoutThreads]),
    ]

    /// A folder of rules that ask for one name, one of alerts' pages.
    private static func withFolder(_ body: (String) async throws -> Void) async throws {
        let folder = NSTemporaryDirectory() + "readiness-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder + "/rules", withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try "- {alert: Slow, expr: 'sum(rate(gateway_request_duration_seconds_bucket[5m])) > worker_lag_seconds'}\n"
            .write(toFile: folder + "/rules/alerts.yaml", atomically: true, encoding: .utf8)
        try await body(folder)
    }

    /// Seen to fail: with what each check looks at besides the status of an answer taken out, seventeen of the faults pass for sound:
    /// all but `notStopped`, `answersInOtherTrace` and `metricMissing`.
    @Test("a sound system passes, and every broken promise is seen", arguments: seen.map(\.check))
    func faults(_ check: ReadinessCheck) async throws {
        let faults = Self.seen.first { $0.check == check }?.faults ?? []
        try await Self.withFolder { folder in
            for fault in [StubSystem.Fault.none] + faults {
                try await StubSystem.with(fault, monitoring: folder) { trials in
                    let finding = await trials.perform(check)
                    #expect(finding.status == (fault == .none ? .pass : .fail), "\(fault): \(finding.evidence)")
                }
            }
        }
    }

    @Test(
        "without a collector a trace is looked for where it can be, and the evidence says that no spans went anywhere")
    func noCollector() async throws {
        try await Self.withFolder { folder in
            for (fault, status) in [(Fault.none, ReadinessFinding.Status.pass), (.servicesInOtherTrace, .fail)] {
                try await StubSystem.with(fault, hasCollector: false, monitoring: folder) { trials in
                    let finding = await trials.perform(.distributedTracing)
                    #expect(finding.status == status, "\(finding.evidence)")
                    #expect(finding.evidence["spans"]?.hasPrefix("not exported") == true)
                }
            }
        }
    }

    /// Seen to fail: without asking for the names in rules and panels.
    @Test("a metric that a rule asks for and nobody shows is missed")
    func asked() async throws {
        try await Self.withFolder { folder in
            try "expr: ingest_no_such_thing_total\n"
                .write(toFile: folder + "/rules/more.yaml", atomically: true, encoding: .utf8)
            try await StubSystem.with(.none, monitoring: folder) { trials in
                let finding = await trials.perform(.prometheusMetrics)
                #expect(finding.status == .fail)
                #expect(finding.evidence["reason"] == "ingest_no_such_thing_total is asked for and nowhere")
            }
        }
        let shipped = ReadinessTrials.namesAsked(in: Self.root + "/monitoring")
        #expect(
            shipped.count > 60 && shipped.contains("gateway_request_duration_seconds_bucket"), "\(shipped.sorted())")
    }

    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().path

    /// Seen to fail: with any answer of status 200 counted.
    @Test("a graph of another event is no answer, under load neither")
    func reading() async throws {
        try await StubSystem.with(.none, monitoring: "none") { trials in
            #expect(try await trials.read("e1", callers: 2, for: .milliseconds(200)).failures == 0)
            let other = try await trials.read("e2", callers: 2, for: .milliseconds(200))
            #expect(other.count > 0 && other.failures == other.count)
        }
    }

    /// Seen to fail: with pages that are only counted.
    @Test("a page of an alert that does not say what to do is none")
    func pages() async throws {
        try await Self.withFolder { folder in
            try await StubSystem.with(.none, monitoring: folder) { trials in
                var places = trials.places
                places.runbooks = folder
                let looking = ReadinessTrials(probe: trials.probe, store: trials.store, places: places)
                func write(_ text: String) throws {
                    try text.write(toFile: folder + "/Slow.md", atomically: true, encoding: .utf8)
                }
                let whole = "# Slow\n\n## Meaning\n\na\n\n## Impact\n\nb\n\n## Check\n\nc\n\n## Mend\n\nd\n"
                try write(whole)
                #expect(looking.runbook().status == .pass)
                try write(whole.replacing("\nd\n", with: ""))
                #expect(looking.runbook().evidence["reason"] == "the page of Slow lacks a part")
                try FileManager.default.removeItem(atPath: folder + "/Slow.md")
                try whole.write(toFile: folder + "/Other.md", atomically: true, encoding: .utf8)
                #expect(looking.runbook().evidence["reason"] == "Slow has no page")
            }
        }
    }

    /// Seen to fail: with only the bands looked at, which the table makes itself, and with a list that is only asked for.
    @Test("a severity that does not follow from its numbers, or an anomaly that is stored and not listed, is seen")
    func candidates() async throws {
        try await StubSystem.with(.none, monitoring: "none") { trials in
            let fixture = Fixture(pool: trials.store.pool)
            #expect(await trials.perform(.anomalyCandidates).status == .fail)
            try await fixture.add(edges: [Fixture.edge(Fixture.node("a"), Fixture.node("b"))])
            #expect(await trials.perform(.anomalyCandidates).status == .pass)
            try await fixture.pool.query("UPDATE multi_layer_correlations SET severity_level = 'LOW'")
            #expect(await trials.perform(.anomalyCandidates).evidence["wrong"] == "1")
            try await fixture.pool.query("UPDATE multi_layer_correlations SET severity_level = composite_severity")
            // The stub lists none.
            let anomaly = StorageTests.anomaly(String(repeating: "1", count: 32), minute: 5, closedAt: nil)
            _ = try await fixture.pool.withConnection { try await $0.pipeline([AnomalyStore.merge([anomaly])]) }
            let unlisted = await trials.perform(.anomalyCandidates)
            #expect(unlisted.status == .fail && unlisted.evidence["anomalies"]?.hasSuffix("served not listed") == true)
        }
    }
}
