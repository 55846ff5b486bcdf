import Foundation
import Model
import NIOHTTP1
import Postgres

extension ReadinessTrials {
    /// Spends the bucket of a caller made for it.
    func rateLimiting() async throws -> ReadinessFinding {
        let made = try await self.probe.call(
            .POST, "/v1/keys",
            json: #"{"caller":"readiness-\#(UUID().uuidString.prefix(8))","scopes":["read"],"expiresInDays":1}"#)
        guard made.status == 201, let key = made.json["key"] as? String, let id = made.json["id"] as? String else {
            return .fail("no key could be made: \(made.status) \(made.text)")
        }
        let outcome = try await self.flood(key: key)
        _ = try? await self.probe.call(.DELETE, "/v1/keys/\(id)")
        return outcome
    }

    private func flood(key: String) async throws -> ReadinessFinding {
        let patience = Duration.seconds(20)
        let begin = ContinuousClock.now
        var sent = 0
        while begin.duration(to: .now) < patience {
            let answers = try await withThrowingTaskGroup(of: SystemProbe.Answer.self) { group in
                for _ in 0..<64 {
                    group.addTask { try await self.probe.call(.GET, "/v1/topology?name=none", key: key) }
                }
                return try await group.reduce(into: [SystemProbe.Answer]()) { $0.append($1) }
            }
            sent += answers.count
            guard let refused = answers.first(where: { $0.status == 429 }) else { continue }
            let wait = refused.header("retry-after").flatMap(Double.init)
            let back = await self.probe.until(seconds: (wait ?? 1) + 5) {
                try await self.probe.call(.GET, "/v1/topology?name=none", key: key).status != 429
            }
            return .judge(
                refused.problem?.code == .rateLimited && wait != nil && back != nil,
                "the refusal says not when to come back, or nobody is let in again",
                [
                    "requests": "\(sent)", "retryAfter": "\(wait ?? -1) s",
                    "letInAfter": back.map(Self.milliseconds) ?? "never",
                ])
        }
        return .fail(
            "no request was refused within \(patience.components.seconds) s; a limit above what one client sends cannot be tried",
            ["requests": "\(sent)"])
    }

    /// What is promised meanwhile is asked for in one go: a trial may be over before a busy machine gets to the next question.
    func memoryCeiling() async throws -> ReadinessFinding {
        let graph = try await self.graph()
        let path = "/v1/events/\(SystemProbe.encoded(graph.event))/changes"
        guard var evidence = try await self.breakSomething(#"{"kind":"memory","seconds":10}"#, at: graph.event) else {
            return Self.refused
        }
        var served = 0
        let shed = await self.probe.until(seconds: 9) {
            guard try await self.probe.get(path).problem?.code == .memoryLimitExceeded else { return false }
            served = try await self.probe.graph(graph.event).status
            return served == 200
        }
        let back = await self.probe.until(seconds: 60) { try await self.probe.get(path).status == 200 }
        evidence["shedAfter"] = shed.map(Self.milliseconds) ?? "never"
        evidence["graphMeanwhile"] = "\(served)"
        evidence["resumedAfter"] = back.map(Self.milliseconds) ?? "never"
        return .judge(shed != nil && back != nil, "it did not shed, serve or resume", evidence)
    }

    /// A statement that waits on the server, sent by the way of interactive reads: the server ends it at the limit, not before and
    /// not long after, the answer says so, and it is counted.
    func queryTimeout() async throws -> ReadinessFinding {
        let timeout = self.places.queryTimeoutMs
        let graph = try await self.graph()
        let path = "/v1/events/" + SystemProbe.encoded(graph.event)
        let counter = #"correlation_engine_query_timeouts_total{kind="interactive"}"#
        let before = try await self.metrics("graph-builder").value(counter) ?? 0
        let json = #"{"kind":"slowDatabase","seconds":3,"delayMs":\#(min(10_000, 4 * timeout + 500))}"#
        guard var evidence = try await self.breakSomething(json, at: graph.event) else { return Self.refused }
        let slow = try await self.probe.get(path)
        let counted = (try await self.metrics("graph-builder").value(counter) ?? 0) - before
        let back = await self.probe.until(seconds: 15) { try await self.probe.get(path).status == 200 }
        evidence["status"] = "\(slow.status) \(slow.problem?.code.rawValue ?? "no problem document")"
        evidence["answeredAfter"] = Self.milliseconds(slow.took)
        evidence["counted"] = "\(Int(counted))"
        evidence["resumedAfter"] = back.map(Self.milliseconds) ?? "never"
        var wrong: [String] = []
        if slow.status != 504 || slow.problem?.code != .deadlineExceeded { wrong.append("it was not answered so") }
        // Earlier, something else refused it; later, the server did not end it.
        if slow.took < .milliseconds(timeout) || slow.took >= .milliseconds(timeout + self.timeoutSlackMs) {
            wrong.append("it took \(Self.milliseconds(slow.took))")
        }
        if counted < 1 { wrong.append("it was not counted") }
        if back == nil { wrong.append("reads did not come back") }
        return .judge(
            wrong.isEmpty, "a slow statement was not stopped at \(timeout) ms: \(wrong.joined(separator: ", "))",
            evidence)
    }

    /// Rounds of graphs in turn with requests that go the same way and are refused where graphs begin. A neighbour on the machine
    /// slows some rounds, and both alike; what is slow by itself is slow in every round, or slower than what is refused.
    func criticalPathLatency() async throws -> ReadinessFinding {
        let graph = try await self.graph()
        _ = try await self.probe.graph(graph.event)
        let (rounds, size) = (7, 100)
        var (p50s, p99s, own): ([Duration], [Duration], [Duration]) = ([], [], [])
        for _ in 0..<rounds {
            var (graphs, refusals): ([Duration], [Duration]) = ([], [])
            while graphs.count < size {
                let answer = try await self.probe.graph(graph.event)
                let refusal = try await self.probe.get("/v1/correlation-graph")
                guard answer.status == 200 else { return .fail("a graph was answered \(answer.status)") }
                guard refusal.status == 400 else { return .fail("no event was answered \(refusal.status)") }
                graphs.append(answer.took)
                refusals.append(refusal.took)
            }
            graphs.sort()
            refusals.sort()
            p50s.append(graphs[size / 2])
            p99s.append(graphs[size * 99 / 100 - 1])
            own.append(graphs[size * 99 / 100 - 1] - refusals[size * 99 / 100 - 1])
        }
        let (best, usual, usualOwn) = (p99s.min() ?? .zero, p99s.sorted()[rounds / 2], own.sorted()[rounds / 2])
        return .judge(
            best <= Self.criticalPathBound && usualOwn <= Self.criticalPathBound / 2,
            "99 of 100 took up to \(Self.milliseconds(best)) in the best round, \(Self.milliseconds(usualOwn)) more than refusals",
            [
                "requests": "\(rounds * size)", "p50": "\(p50s.sorted()[rounds / 2])", "p99 best round": "\(best)",
                "p99 median round": "\(usual)", "p99 beyond refusals": "\(usualOwn)",
            ])
    }

    private static let criticalPathBound = Duration.milliseconds(100)

    func errorHandling() async throws -> ReadinessFinding {
        var evidence: [String: String] = [:]
        var wrong: [String] = []
        func expect(_ what: String, _ status: Int, _ code: Problem.Code, _ answer: SystemProbe.Answer) {
            evidence[what] = "\(answer.status) \(answer.problem?.code.rawValue ?? "no problem document")"
            // The trace in the answer's body is the one of its head, by which it is found in logs.
            let isTraced = answer.problem?.traceId != nil && answer.problem?.traceId == answer.traceID
            if answer.status != status || answer.problem?.code != code || !isTraced {
                wrong.append(what)
            }
        }
        expect("no such route", 404, .notFound, try await self.probe.get("/v1/no-such-thing"))
        expect("no key", 401, .unauthenticated, try await self.probe.call(.GET, "/v1/events", key: ""))
        expect("a wrong query", 400, .invalidRequest, try await self.probe.get("/v1/events?limit=none"))
        expect("a wrong method", 405, .methodNotAllowed, try await self.probe.call(.DELETE, "/v1/events"))
        expect(
            "a broken body", 400, .malformedBody,
            try await self.probe.call(.POST, "/v1/propagation", json: "{"))
        expect(
            "no such event", 404, .notFound,
            try await self.probe.getPatiently("/v1/correlation-graph?eventId=readiness-\(UUID().uuidString)"))
        return .judge(wrong.isEmpty, "not as promised: \(wrong.joined(separator: ", "))", evidence)
    }

    func sqlValidity() async throws -> ReadinessFinding {
        let graph = try await self.graph()
        let event = SystemProbe.encoded(graph.event)
        let pending = try await self.store.pool.withConnection { try await Migrator().pending(on: $0) }
        var evidence = ["pendingMigrations": "\(pending)"]
        var wrong: [String] = []
        for path in [
            "/v1/events?limit=1", "/v1/events/\(event)", "/v1/events/\(event)/changes",
            "/v1/correlation-graph?eventId=\(event)", "/v1/graphs/diff?from=\(graph.id)&to=\(graph.id)", "/v1/domains",
            "/v1/anomalies?limit=1", "/v1/forecasts?limit=1", Self.noTopology, "/v1/readiness", "/v1/keys",
            "/v1/audit?limit=1",
        ] {
            let answer: SystemProbe.Answer
            do {
                answer = try await self.probe.getPatiently(path)
            } catch {
                evidence[path] = "\(error)"
                wrong.append("\(path) \(error)")
                continue
            }
            evidence[path] = "\(answer.status) after \(Self.milliseconds(answer.took))"
            // 404 is an answer of the database, too, where nothing of that name can be: of all others there is something.
            let isNone = answer.status == 404 && answer.problem?.code == .notFound && path == Self.noTopology
            if answer.status != 200, !isNone { wrong.append("\(path) \(answer.status)") }
        }
        return .judge(
            pending.isEmpty && wrong.isEmpty, "migrations \(pending) are missing; \(wrong.joined(separator: ", "))",
            evidence)
    }

    private static let noTopology = "/v1/topology?name=readiness-no-such-topology"

    /// Makes a key and takes it away again: both must be found as what they are, by their traces.
    func auditLogging() async throws -> ReadinessFinding {
        let exists = try await self.store.pool.query("SELECT to_regclass('audit_log') IS NOT NULL").column(Bool.self)
        guard exists == [true] else { return .fail("there is no table audit_log") }
        let made = try await self.probe.call(
            .POST, "/v1/keys",
            json: #"{"caller":"readiness-\#(UUID().uuidString.prefix(8))","scopes":["read"],"expiresInDays":1}"#)
        guard made.status == 201, let id = made.json["id"] as? String else {
            return .fail("no key could be made: \(made.status) \(made.text)")
        }
        let revoked = try await self.probe.call(.DELETE, "/v1/keys/\(id)")
        var evidence: [String: String] = [:]
        var missing: [String] = []
        for (what, answer) in [("POST /v1/keys", made), ("DELETE /v1/keys/{id}", revoked)] {
            let trace = answer.traceID ?? "none"
            let found = await self.probe.until(seconds: 20) {
                try await self.store.pool.query(
                    """
                    SELECT EXISTS (SELECT 1 FROM audit_log WHERE trace_id = $1 AND action = $2 AND status = $3
                        AND at > now() - interval '1 day')
                    """, [.text(trace), .text(what), .int32(Int32(answer.status))]
                ).column(Bool.self) == [true]
            }
            evidence[what] = "\(answer.status), trace \(trace), found after \(found.map(Self.milliseconds) ?? "never")"
            if found == nil { missing.append(what) }
        }
        return .judge(missing.isEmpty, "not in the audit log: \(missing.joined(separator: ", "))", evidence)
    }

    static func newTraceID() -> String {
        (0..<16).map { _ in String(UInt8.random(in: 17...255), radix: 16) }.joined()
    }
}

extension SystemProbe.Answer {
    /// By what the answer itself says.
    var traceID: String? {
        self.header("traceparent").flatMap { $0.split(separator: "-").dropFirst().first.map(String.init) }
    }
}

extension SystemProbe {
    func someGraphIs(_ graph: (event: String, id: String)) async throws -> Bool {
        try await self.graph(graph.event).json["id"] as? String == graph.id
    }
}
