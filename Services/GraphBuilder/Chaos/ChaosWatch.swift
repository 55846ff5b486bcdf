import CoreMetrics
import Logging
import Model
import Postgres
import ServiceRuntime

/// Looks at this replica while a trial goes on and until all is as before, and says whether that was as expected.
struct ChaosWatch: Sendable {
    static let interval = Duration.milliseconds(250)
    /// The pause of a circuit, a lease and a round of evaluation.
    static let patience = Duration.seconds(90)
    /// What is looked at after a trial that is over as soon as it began, so that its trace is not missed.
    static let leastSamples = 2

    let pool: PostgresPool
    let graphs: GraphStore
    let layers: LayerControl
    let memory: MemoryWatch
    let slowness: DatabaseSlowness
    let queryTimeout: @Sendable () -> Duration
    let logger: Logger

    /// Without the circuit: looking must not open it.
    private var bound: QueryBound {
        QueryBound(
            .interactive, factory: NOOPMetricsHandler.instance, delay: { self.slowness.delay }, limit: self.queryTimeout
        )
    }

    /// Ids of stored graphs by event and window end; only the first thousand events, so that looking stays cheap.
    typealias Standing = [String: String]

    func standing() async throws -> Standing {
        try await self.pool.query(
            """
            SELECT event_id || ' ' || window_end::text, graph_id FROM event_graphs ORDER BY event_id LIMIT 1000
            """
        ).reduce(into: [:]) { standing, row in
            let (place, id) = try row.decode((String, String).self)
            standing[place] = id
        }
    }

    var graphCount: Int { self.graphs.eventCount }

    /// Until the trial is over and all is back, or patience is.
    /// - Parameter note: is told the state of things every time.
    func follow(
        _ plan: ChaosTrial.Plan, before: Standing, graphs: Int, note: (ChaosBook.Result) -> Void
    ) async -> ChaosBook.Result {
        let limitMs = Int(self.queryTimeout() / .milliseconds(1))
        var seen = ChaosSeen(graphsBefore: graphs)
        let end = ContinuousClock.now + .seconds(plan.seconds)
        while ContinuousClock.now < end, !Task.isCancelled {
            seen.during(await self.look())
            note(ChaosBook.Result(state: .running, faults: [], seen: seen))
            try? await Task.sleep(for: Self.interval)
        }
        let deadline = end + Self.patience
        var isBack = false
        var looks = 0
        while !Task.isCancelled, ContinuousClock.now < deadline, !isBack || looks < Self.leastSamples {
            try? await Task.sleep(for: Self.interval)
            let sample = await self.look(comparedWith: before)
            isBack = seen.afterwards(sample, afterMs: Int((ContinuousClock.now - end) / .milliseconds(1)))
            looks += 1
            note(ChaosBook.Result(state: .running, faults: [], seen: seen))
        }
        let faults = seen.faults(of: plan, limitMs: limitMs)
        let result = ChaosBook.Result(state: faults.isEmpty ? .met : .notMet, faults: faults, seen: seen)
        self.logger.log(
            level: faults.isEmpty ? .notice : .error, "chaos trial is over",
            metadata: [
                "kind": "\(plan.kind)", "expectation": "\(plan.expectation)", "result": "\(result.state)",
                "faults": "\(faults)",
            ])
        return result
    }

    private func look(comparedWith before: Standing? = nil) async -> ChaosSeen.Sample {
        var sample = ChaosSeen.Sample()
        let begin = ContinuousClock.now
        do {
            let now = try await self.bound.bound {
                if before == nil {
                    _ = try await self.pool.query("SELECT 1")
                    return Standing()
                }
                return try await self.standing()
            }
            if let before {
                let common = now.filter { before[$0.key] != nil }
                sample.compared = ChaosSeen.Compared(
                    graphs: common.count, differing: common.count { before[$0.key] != $0.value })
            }
        } catch let error as PostgresError where error.code == .timeout {
            sample.read = .timedOut
        } catch {
            sample.read = .failed
        }
        sample.readMs = Int((ContinuousClock.now - begin) / .milliseconds(1))
        for report in self.graphs.layerReports where report.state == .failed {
            let saysWhy = !(report.reason ?? "").isEmpty
            sample.failed[report.layer] = (sample.failed[report.layer] ?? true) && saysWhy
        }
        let troubles = self.layers.troubles
        sample.troubled = Set(Layer.allCases.filter { layer in troubles.contains { $0.hasPrefix(layer.code + ":") } })
        sample.graphs = self.graphs.eventCount
        sample.isShedding = self.memory.isShedding
        return sample
    }
}
