import Foundation
import Model
import NIOHTTP1

/// Performs each check against the running system, one after the other, and says what was seen.
struct ReadinessTrials: Sendable {
    struct Places: Sendable {
        /// `/metrics` of the services by name, one for each replica.
        var metrics: [String: [String]] = [:]
        /// The graph-builder executable; nil: snapshots are looked up in the table only.
        var graphBuilder: String?
        var runbooks = "docs/runbooks"
        var monitoring = "monitoring"
        /// Milliseconds of QUERY_TIMEOUT_MS as this command is configured.
        var queryTimeoutMs = 50
    }

    let probe: SystemProbe
    let store: ReadinessStore
    let places: Places
    /// How much later than at the limit the answer to a stopped statement may come. Well below the second after which a service
    /// itself gives the server up.
    var timeoutSlackMs = 400
    /// How long spans may take to a collector: what is kept is sent every two seconds.
    var exportPatienceSeconds = 15.0
    /// Says what is waited for.
    var tell: @Sendable (String) -> Void = { _ in }

    /// - Returns: what the check came to; an error on the way is a failure, with its text.
    func perform(_ check: ReadinessCheck) async -> ReadinessFinding {
        // What the check before has broken must not be taken for what this one looks at.
        await self.waitUntilWell()
        do {
            switch check {
            case .rateLimiting: return try await self.rateLimiting()
            case .memoryCeiling: return try await self.memoryCeiling()
            case .queryTimeout: return try await self.queryTimeout()
            case .criticalPathLatency: return try await self.criticalPathLatency()
            case .errorHandling: return try await self.errorHandling()
            case .sqlValidity: return try await self.sqlValidity()
            case .circuitBreaker: return try await self.circuitBreaker()
            case .auditLogging: return try await self.auditLogging()
            case .prometheusMetrics: return try await self.prometheusMetrics()
            case .distributedTracing: return try await self.distributedTracing()
            case .snapshotRotation: return try await self.snapshotRotation()
            case .workerThreads: return try await self.hardware("correlation_engine_worker_threads")
            case .simd: return try await self.hardware("correlation_engine_simd_enabled")
            case .anomalyCandidates: return try await self.anomalyCandidates()
            case .memoryStability: return try await self.memoryStability()
            case .chaos: return try await self.chaos()
            case .healthEndpoint: return try await self.healthEndpoint()
            case .gracefulDegradation: return try await self.gracefulDegradation()
            case .loadTest: return try await self.loadTest()
            case .runbook: return self.runbook()
            }
        } catch {
            return .fail("the check could not be carried through: \(error)")
        }
    }

    /// Asks for a trial that breaks something of the replica that owns an event: what is looked at comes from there.
    /// - Returns: nil when the installation refuses trials.
    func breakSomething(_ json: String, at event: String) async throws -> [String: String]? {
        let path = "/v1/chaos?eventId=" + SystemProbe.encoded(event)
        for _ in 0..<Self.chaosAttempts {
            // Two gigabytes of pages are not filled at once where a neighbour has the processors.
            let answer = try await self.probe.call(.POST, path, json: json, timeoutSeconds: 120)
            if answer.status == 403 { return nil }
            // It goes on all the same; what counts is what is seen then.
            if answer.status == 504 { return ["trial": json, "done": "not said in time"] }
            // The event has another owner by now, or many trials are still looked at.
            if answer.status == 503 {
                try await Task.sleep(for: .seconds(2))
                continue
            }
            guard answer.status == 200 else {
                throw ReadinessTrouble("POST /v1/chaos answered \(answer.status): \(answer.text)")
            }
            return [
                "trial": json, "expected": answer.json["expectation"] as? String ?? "",
                "done": answer.json["done"] as? String ?? "", "replica": answer.json["replica"] as? String ?? "",
                "id": answer.json["id"] as? String ?? "",
            ]
        }
        throw ReadinessTrouble("POST /v1/chaos was answered 503 \(Self.chaosAttempts) times")
    }

    private static let chaosAttempts = 30

    static let refused = ReadinessFinding.pending(
        "this installation refuses trials that break something (CHAOS_ENABLED); evidence of the same version from staging counts"
    )

    /// What all replicas that are known show, together: values of one name are added up.
    func metrics(_ service: String, accept: String? = nil) async throws -> MetricsText {
        var all = MetricsText(Data())
        for replica in try await self.eachReplica(service, accept: accept) { all.lines += replica.lines }
        return all
    }

    /// What each replica that is known shows.
    func eachReplica(_ service: String, accept: String? = nil) async throws -> [MetricsText] {
        guard let urls = self.places.metrics[service], !urls.isEmpty else {
            throw ReadinessTrouble("where \(service) shows its metrics is not known: --metrics \(service)=URL")
        }
        var texts: [MetricsText] = []
        for url in urls {
            let answer = try await self.probe.call(
                .GET, url, key: "", headers: accept.map { [("Accept", $0)] } ?? [])
            guard answer.status == 200 else { throw ReadinessTrouble("\(url) answered \(answer.status)") }
            texts.append(MetricsText(answer.body))
        }
        return texts
    }

    static func milliseconds(_ duration: Duration) -> String { "\(Int(duration / .milliseconds(1))) ms" }

    /// How long the system may take to build everything anew behind a trial: seconds of evaluation, and more of them where a
    /// neighbour has the processors, besides the 30 s for which a circuit stays open.
    static let patienceSeconds = 180.0

    private func isWell() async throws -> Bool { try await self.troubles().isEmpty }

    /// Why the system is not HEALTHY, in its own words.
    private func troubles() async throws -> [String] {
        let health = try await self.probe.call(.GET, "/health", key: "").json
        guard health["status"] as? String != "HEALTHY" else { return [] }
        let reasons = health["reasons"] as? [String] ?? []
        return reasons.isEmpty ? ["/health does not say HEALTHY"] : reasons
    }

    private func waitUntilWell() async {
        let begin = ContinuousClock.now
        var isTold = false
        _ = await self.probe.until(seconds: Self.patienceSeconds) {
            let troubles = try await self.troubles()
            if !troubles.isEmpty, !isTold, begin.duration(to: .now) > .seconds(5) {
                self.tell("  waits until the system is well: " + troubles.joined(separator: "; "))
                isTold = true
            }
            return troubles.isEmpty
        }
    }

    /// A graph whose layers are all well, in a system that is: else what comes back could not be told from what was there.
    func soundGraph() async throws -> (event: String, id: String) {
        let graph = try await self.graph()
        _ = await self.probe.until(seconds: Self.patienceSeconds) {
            let layers = SystemProbe.layers(try await self.probe.graph(graph.event))
            let isWell = try await self.isWell()
            return isWell && layers.values.allSatisfy { $0.state != "failed" }
        }
        return try await self.graph()
    }

    /// Makes layers fail until what is promised is seen: where a neighbour has the processors, and behind a trial that emptied the
    /// caches of evaluation, nothing may be built within the first, short ones.
    /// - Returns: evidence, and after how long it was seen; nil when the installation refuses trials.
    func failLayers(
        of event: String, _ trial: (_ seconds: Int) -> String, promised: () async throws -> Bool
    ) async throws -> (evidence: [String: String], seenAfter: Duration?)? {
        var evidence: [String: String] = [:]
        for seconds in [6, 20, 120] {
            guard let broken = try await self.breakSomething(trial(seconds), at: event) else { return nil }
            evidence = broken
            if let seen = await self.probe.until(seconds: Double(seconds) + 4, promised) { return (evidence, seen) }
        }
        return (evidence, nil)
    }

    /// A graph to look at.
    func graph() async throws -> (event: String, id: String) {
        guard let graph = try await self.probe.someGraph() else {
            throw ReadinessTrouble("there is no event with a graph to look at: send observations first")
        }
        return graph
    }
}

struct ReadinessTrouble: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
