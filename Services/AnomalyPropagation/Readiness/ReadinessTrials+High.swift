import Foundation
import Model
import NIOHTTP1
import Postgres

extension ReadinessTrials {
    /// Names other systems rely on, by service.
    private static let promised: [String: [String]] = [
        "graph-builder": [
            "correlation_engine_graph_builds_total", "correlation_engine_graph_build_latency_ms",
            "correlation_engine_graph_build_duration_seconds_count", "correlation_engine_memory_usage_bytes",
            "correlation_engine_errors_total", "correlation_engine_circuit_state", "process_resident_memory_bytes",
        ],
        "anomaly-propagation": ["http_server_requests_total", "process_resident_memory_bytes"],
        "gateway": ["process_resident_memory_bytes"],
    ]

    func prometheusMetrics() async throws -> ReadinessFinding {
        var evidence: [String: String] = [:]
        var missing: [String] = []
        _ = try await self.probe.get("/v1/anomalies?limit=1")
        for (service, names) in Self.promised.sorted(by: { $0.key < $1.key }) {
            let metrics = try await self.metrics(service)
            evidence[service] = "\(metrics.lines.count { !$0.hasPrefix("#") }) samples"
            missing += names.filter { metrics.value($0) == nil }.map { "\(service) \($0)" }
        }
        return .judge(missing.isEmpty, "missing: \(missing.joined(separator: ", "))", evidence)
    }

    func distributedTracing() async throws -> ReadinessFinding {
        let trace = Self.newTraceID()
        let answer = try await self.probe.getPatiently(
            "/v1/events?limit=1", headers: [("traceparent", "00-\(trace)-00f067aa0ba902b7-01")])
        let answered = answer.header("traceparent") ?? ""
        return .judge(
            answer.status == 200 && answered.split(separator: "-").dropFirst().first.map(String.init) == trace,
            "the answer carries another trace", ["sent": trace, "answered": answered])
    }

    func snapshotRotation() async throws -> ReadinessFinding {
        var evidence: [String: String] = [:]
        if let program = self.places.graphBuilder, ProcessInfo.processInfo.environment["SNAPSHOT_DIR"] != nil {
            for words in [["rotate"], ["verify", "latest"], ["restore", "latest", "--rehearse"]] {
                let outcome = try await ChildCommand(program, ["snapshot"] + words).run()
                evidence[words[0]] = outcome.text
                guard outcome.code == 0 else {
                    return .fail("snapshot \(words[0]) ended with \(outcome.code)", evidence)
                }
            }
            return .pass(evidence)
        }
        let rows = try await self.store.pool.query(
            """
            SELECT id, row_count, coalesce(verified_ok, false), created_at > now() - interval '26 hours'
            FROM multi_layer_snapshots WHERE removed_at IS NULL ORDER BY created_at DESC LIMIT 1
            """
        ).map { try $0.decode((String, Int, Bool, Bool).self) }
        guard let newest = rows.first else { return .fail("no snapshot was ever made") }
        evidence = ["newest": newest.0, "rows": "\(newest.1)", "verified": "\(newest.2)"]
        guard newest.2, newest.3 else { return .fail("the newest snapshot is old or not verified", evidence) }
        return .warn("only looked up; with SNAPSHOT_DIR and graph-builder at hand one is made and rehearsed", evidence)
    }

    /// A gauge against what the configuration of graph-builder asks for.
    func hardware(_ name: String) async throws -> ReadinessFinding {
        let metrics = try await self.metrics("graph-builder")
        let wanted = metrics.value(name + "_wanted")
        let found = metrics.value(name)
        return .judge(
            found != nil && found == wanted, "\(name) is not what the configuration asks for",
            ["found": found.map { "\(Int($0))" } ?? "none", "wanted": wanted.map { "\(Int($0))" } ?? "none"])
    }

    func anomalyCandidates() async throws -> ReadinessFinding {
        let rows = try await self.store.pool.query(
            """
            SELECT count(*), count(*) FILTER (WHERE severity_band <>
                       CASE WHEN confidence > 0.9 THEN 'HIGH' WHEN confidence > 0.6 THEN 'MEDIUM' ELSE 'LOW' END),
                   count(*) FILTER (WHERE composite_severity = 'CRITICAL'
                       AND NOT (confidence > 0.9 AND abs(correlation_score) > 0.7))
            FROM (SELECT * FROM anomaly_candidates ORDER BY detected_at DESC LIMIT 10000) c
            """
        ).map { try $0.decode((Int, Int, Int).self) }
        let (count, wrongBands, wrongSeverities) = rows.first ?? (0, 0, 0)
        let list = try await self.probe.getPatiently("/v1/anomalies?limit=1")
        let evidence = ["candidates": "\(count)", "wrong": "\(wrongBands + wrongSeverities)", "list": "\(list.status)"]
        guard count > 0 else { return .fail("there is no candidate to look at", evidence) }
        return .judge(
            wrongBands + wrongSeverities == 0 && list.status == 200, "bands do not follow from numbers", evidence)
    }

    func memoryStability() async throws -> ReadinessFinding {
        let graph = try await self.graph()
        let before = try await self.metrics("graph-builder").value("process_resident_memory_bytes") ?? 0
        // The first seconds fill caches that stay.
        _ = try await self.read(graph.event, callers: 4, for: .seconds(5))
        let warm = try await self.metrics("graph-builder").value("process_resident_memory_bytes") ?? 0
        let read = try await self.read(graph.event, callers: 4, for: .seconds(15))
        let after = try await self.metrics("graph-builder").value("process_resident_memory_bytes") ?? 0
        let growth = warm > 0 ? (after - warm) / warm : 1
        return .judge(
            growth < 0.03 && read.failures == 0, "memory grew by \(Int((growth * 1_000).rounded()) / 10) %",
            [
                "before": "\(Int(before))", "warm": "\(Int(warm))", "after": "\(Int(after))", "reads": "\(read.count)",
            ])
    }

    func chaos() async throws -> ReadinessFinding {
        let graph = try await self.soundGraph()
        var evidence: [String: String] = [:]
        for kind in ["connectionLoss", "workerKill"] {
            guard let trial = try await self.breakSomething(#"{"kind":"\#(kind)"}"#, at: graph.event) else {
                return Self.refused
            }
            let back = await self.probe.until(seconds: Self.patienceSeconds) {
                let isRead = try await self.probe.get("/v1/events?limit=1").status == 200
                return try await self.probe.someGraphIs(graph) && isRead
            }
            evidence["\(kind) expected"] = trial["expected"]
            evidence["\(kind) done"] = trial["done"]
            evidence["\(kind) same graph after"] = back.map(Self.milliseconds) ?? "never"
            guard back != nil else { return .fail("after \(kind) the graph is not what it was", evidence) }
        }
        return .pass(evidence)
    }

    struct Reading: Sendable {
        var count = 0
        var failures = 0
        var firstFailure: String?
        var p99 = Duration.zero
        var seconds = 0.0
    }

    /// Reads one graph by some callers at once.
    func read(_ event: String, callers: Int, for duration: Duration) async throws -> Reading {
        let begin = ContinuousClock.now
        let probe = self.probe
        let outcomes = await withTaskGroup(of: [(failure: String?, took: Duration)].self) { group in
            for _ in 0..<callers {
                group.addTask {
                    var own: [(failure: String?, took: Duration)] = []
                    while begin.duration(to: .now) < duration {
                        do {
                            let answer = try await probe.graph(event)
                            let failure = answer.status == 200 ? nil : "\(answer.status) \(answer.text)"
                            own.append((failure, answer.took))
                        } catch {
                            own.append(("\(error)", .seconds(30)))
                        }
                    }
                    return own
                }
            }
            return await group.reduce(into: []) { $0 += $1 }
        }
        let times = outcomes.map(\.took).sorted()
        return Reading(
            count: outcomes.count, failures: outcomes.count { $0.failure != nil },
            firstFailure: outcomes.lazy.compactMap(\.failure).first,
            p99: times.isEmpty ? .zero : times[times.count * 99 / 100], seconds: begin.duration(to: .now) / .seconds(1))
    }
}
