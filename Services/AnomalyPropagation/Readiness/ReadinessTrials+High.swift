import Foundation
import Model
import NIOHTTP1
import Postgres

extension ReadinessTrials {
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

    /// A gauge against what the configuration of graph-builder asks for, replica by replica: what one has too much must not make up
    /// for what another lacks.
    func hardware(_ name: String) async throws -> ReadinessFinding {
        let (found, wanted) = try await self.eachReplica("graph-builder").reduce(into: ([Double?](), [Double?]())) {
            $0.0.append($1.value(name))
            $0.1.append($1.value(name + "_wanted"))
        }
        func text(_ values: [Double?]) -> String {
            values.map { $0.map { "\(Int($0))" } ?? "none" }.joined(separator: ", ")
        }
        return .judge(
            found == wanted && !found.contains(nil), "\(name) is not what the configuration asks for",
            ["found": text(found), "wanted": text(wanted)])
    }

    /// Severities were written by graph-builder, bands come from the table, and the list from anomaly-propagation: all three against
    /// the rules, and against one another.
    func anomalyCandidates() async throws -> ReadinessFinding {
        let rows = try await self.store.pool.query(
            """
            SELECT count(*), count(*) FILTER (WHERE band <>
                       CASE WHEN confidence > 0.9 THEN 'HIGH' WHEN confidence > 0.6 THEN 'MEDIUM' ELSE 'LOW' END),
                   count(*) FILTER (WHERE severity <> severity_rule OR composite <> severity_rule)
            FROM (SELECT confidence, severity_band AS band, severity_level AS severity, composite_severity AS composite,
                         CASE WHEN confidence > 0.9 AND abs(correlation_score) > 0.7 THEN 'CRITICAL'
                              WHEN confidence > 0.6 AND abs(correlation_score) > 0.5 THEN 'HIGH'
                              WHEN confidence > 0.3 THEN 'MEDIUM' ELSE 'LOW' END AS severity_rule
                  FROM multi_layer_correlations ORDER BY detected_at DESC LIMIT 10000) c
            """
        ).map { try $0.decode((Int, Int, Int).self) }
        let (stored, wrongBands, wrongSeverities) = rows.first ?? (0, 0, 0)
        let seen = try await self.store.pool.query(
            "SELECT count(*) FROM (SELECT FROM anomaly_candidates LIMIT 10000) c")
        let candidates = try seen.column(Int.self).first ?? 0
        let served = try await self.newestAnomalyIsServed()
        let evidence = [
            "candidates": "\(candidates)", "wrong": "\(wrongBands + wrongSeverities)", "anomalies": served.evidence,
        ]
        guard stored > 0 else { return .fail("there is no candidate to look at", evidence) }
        guard candidates == stored else { return .fail("anomaly_candidates shows not what is stored", evidence) }
        return .judge(
            wrongBands + wrongSeverities == 0 && served.holds,
            "bands do not follow from numbers, or the list is not what is stored", evidence)
    }

    /// The anomaly that was opened last, as it is stored, must be in the list; where there is none, the list is empty.
    private func newestAnomalyIsServed() async throws -> (holds: Bool, evidence: String) {
        let stored = try await self.store.pool.query(
            "SELECT id, severity FROM anomalies ORDER BY opened_at DESC, id LIMIT 1"
        ).map { try $0.decode((String, String).self) }
        let list = try await self.probe.getPatiently("/v1/anomalies?limit=500")
        guard list.status == 200, let items = list.json["items"] as? [[String: Any]] else {
            return (false, "the list was answered \(list.status)")
        }
        guard let (id, severity) = stored.first else { return (true, "none stored, \(items.count) listed") }
        let item = items.first { $0["id"] as? String == id }
        let told = item.map { $0["severity"] as? String ?? "without severity" } ?? "not listed"
        return (told == severity, "newest \(id): stored \(severity), served \(told)")
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
        let connects = #"database_pool_connects_total{outcome="ok"}"#
        let connected = try await self.metrics("graph-builder").value(connects) ?? 0
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
            let verdict = await self.verdict(on: trial)
            evidence["\(kind) verdict"] = verdict
            guard verdict == "met" else { return .fail("\(kind) is not judged as met by who was broken", evidence) }
        }
        // A trial that ended no connection has shown nothing.
        let anew = (try await self.metrics("graph-builder").value(connects) ?? 0) - connected
        evidence["connections made anew"] = "\(Int(anew))"
        return .judge(anew > 0, "no connection had to be made anew", evidence)
    }

    /// What the replica that was broken says came of it, once it has looked; it may own nothing any more, so all are asked.
    private func verdict(on trial: [String: String]) async -> String {
        let id = trial["id"] ?? ""
        var found = "none"
        _ = await self.probe.until(seconds: Self.patienceSeconds) {
            for entry in try await self.probe.get("/v1/chaos").json["items"] as? [[String: Any]] ?? []
            where entry["id"] as? String == id {
                let result = entry["result"] as? [String: Any] ?? [:]
                let faults = result["faults"] as? [String] ?? []
                found = ([result["state"] as? String ?? "none"] + faults).joined(separator: ": ")
            }
            return found != "none" && found != "running"
        }
        return found
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
        // An answer counts when it is about what was asked for.
        let wanted = Data("\"\(event)\"".utf8)
        let outcomes = await withTaskGroup(of: [(failure: String?, took: Duration)].self) { group in
            for _ in 0..<callers {
                group.addTask {
                    var own: [(failure: String?, took: Duration)] = []
                    while begin.duration(to: .now) < duration {
                        do {
                            let answer = try await probe.graph(event)
                            let isWhole = answer.status == 200 && answer.body.range(of: wanted) != nil
                            let failure = isWhole ? nil : "\(answer.status) \(answer.text)"
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
