import Engine
import Model

/// What one closed bucket of one domain comes to. Pure: cache and states in, results out.
struct DomainEvaluator {
    /// The evaluation of one event, kept until it is published.
    struct Part: Sendable {
        var evaluation: EventEvaluation
        var domain: String
        var bucket: Int64
        var windowEnd: Timestamp
        /// Domains that took part in L4, or should have.
        var partners: EvaluationSchedule.Partners
        /// Of all it looked at.
        var digest: Digest128
        /// Of the domains that took part, see ``SeriesCache/lateVersion(of:)``.
        var lateVersion: Int
        /// What layers could do when it was made.
        var layers = LayerMachine.Standing()
    }

    struct Outcome {
        var parts: [Part] = []
        /// What layers were allowed.
        var planned = LayerMachine.Standing()
        var findings: [Finding] = []
        var nodeScores: [EvaluationBatch.NodeScore] = []
        var eventScores: [EvaluationBatch.EventScore] = []
    }

    let cache: SeriesCache
    let thresholds: LayerThresholds
    let declared: DeclaredPairs
    /// Layers that are not to be computed, and why.
    var layerStates: [Layer: (state: LayerReport.State, reason: String)] = [:]

    /// - Parameters:
    ///   - events: to evaluate, ascending.
    ///   - learning: events whose detectors have not seen this bucket.
    ///   - states: of the events' detectors, by event; changed in place.
    func evaluate(
        _ due: EvaluationSchedule.Due, events: [String], learning: Set<String>,
        states: inout [String: DetectorStates.Event]
    ) -> Outcome {
        guard let domain = self.cache.domains[due.domain], let clock = domain.clock else { return Outcome() }
        let builder = BlockBuilder(cache: self.cache)
        guard let block = builder.own(domain, bucket: due.bucket) else { return Outcome() }
        var input = EvaluationInput(
            domain: due.domain, block: block, shape: WindowShape(profile: domain.profile), events: events,
            thresholds: self.thresholds)
        input.partners = builder.partners(domain, bucket: due.bucket, names: due.partners.ready)
        input.periods = self.periods([due.domain] + due.partners.ready)
        // Links are judged without seasons, too: else a shared cycle would hide that what moves beside it broke apart.
        input = input.withoutSeasons()
        if !due.partners.late.isEmpty {
            input.layerStates[.crossDomain] = (
                .degraded, "not up to this window end yet: \(due.partners.late.joined(separator: ", "))"
            )
        }
        input.layerStates.merge(self.layerStates) { $1 }
        for event in events {
            for standing in states[event]?.standing ?? [] {
                input.detectedAt[
                    EdgeKey(source: standing.source, target: standing.target, estimator: standing.estimator)] =
                    standing.since
            }
        }
        let reader = TickReader(domain, bucket: due.bucket)
        var ticks: [String: TickReader.Estimate] = [:]
        for event in events {
            guard let estimate = reader?.estimate(event, known: states[event]?.ticks) else { continue }
            ticks[event] = estimate
            input.tickEdges[event] = estimate.edges
        }
        let digest = builder.digest(domain, bucket: due.bucket, partners: due.partners.ready)
        var outcome = Outcome()
        for evaluation in Evaluation.evaluate(input) {
            var state = states[evaluation.event] ?? Self.fresh(evaluation.event, domain: domain, clock: clock)
            state.ticks = ticks[evaluation.event]
            // An edge of a layer that was not computed stands as far as anybody knows.
            let unseen = state.standing.filter { self.layerStates[Layer(of: $0.source, and: $0.target)] != nil }
            state.standing =
                unseen
                + evaluation.accepted.map {
                    DetectorStates.Standing(
                        source: $0.source, target: $0.target, estimator: $0.estimator, since: $0.detectedAt)
                }
            if learning.contains(evaluation.event) {
                self.detect(
                    evaluation, in: input, raw: block, domain: domain, bucket: due.bucket, state: &state,
                    outcome: &outcome)
            }
            states[evaluation.event] = state
            outcome.parts.append(
                Part(
                    evaluation: evaluation, domain: due.domain, bucket: due.bucket, windowEnd: due.windowEnd,
                    partners: due.partners, digest: digest,
                    lateVersion: self.cache.lateVersion(of: [due.domain] + due.partners.ready),
                    layers: LayerMachine.Standing(evaluation.layers)))
        }
        return outcome
    }

    private static func fresh(
        _ event: String, domain: DomainSeries, clock: DomainSeries.Clock
    ) -> DetectorStates.Event {
        let profile = domain.profile
        return DetectorStates.Event(
            links: LinkDetector(
                event: event,
                settings: .init(
                    presentBuckets: profile.presentBuckets, baselineBuckets: profile.baselineBuckets,
                    lagBuckets: profile.lagBuckets)),
            residual: NodeResidualDetector(
                event: event, domain: domain.name,
                settings: .init(
                    bucketMs: clock.bucketMs, periodMs: profile.periodMs, baselineBuckets: profile.baselineBuckets)))
    }

    /// - Parameters:
    ///   - input: without seasons.
    ///   - raw: the domain's own block with them, for what is told in the units of the values.
    private func detect(
        _ evaluation: EventEvaluation, in input: EvaluationInput, raw: SeriesBlock, domain: DomainSeries, bucket: Int64,
        state: inout DetectorStates.Event, outcome: inout Outcome
    ) {
        // Where the partners are on the same clock, their block holds the own nodes too, and with it the far ends of L4.
        let wide = input.partners.first { $0.block.bucketMs == input.block.bucketMs }?.block ?? input.block
        let known = Set(wide.nodes)
        let edges = evaluation.accepted.filter {
            $0.estimator == .pearson && $0.bucketMs == wide.bucketMs && known.contains($0.source)
                && known.contains($0.target)
        }
        outcome.findings += state.links.observe(block: wide, edges: edges)
        let hidden = HiddenEdgeDetector(
            presentBuckets: domain.profile.presentBuckets, baselineBuckets: domain.profile.baselineBuckets)
        var alarms = state.hiddenAlarms ?? LinkAlarms(.deviations)
        outcome.findings += alarms.keep(
            hidden.observe(
                event: evaluation.event, block: wide, edges: edges, declared: self.declared,
                partners: max(1, wide.nodes.count - 1)),
            bucketMs: wide.bucketMs, budget: hidden.budget)
        state.hiddenAlarms = alarms
        outcome.findings += MoveDetector(
            transform: domain.profile.transform, baselineBuckets: max(1, domain.profile.baselineBuckets),
            leastBuckets: 3 * domain.profile.presentBuckets
        ).observe(block: raw, event: evaluation.event, edges: evaluation.accepted)
        self.scoreNodes(evaluation.event, domain: domain, bucket: bucket, input: input, &state, &outcome)
    }

    private func scoreNodes(
        _ event: String, domain: DomainSeries, bucket: Int64, input: EvaluationInput,
        _ state: inout DetectorStates.Event, _ outcome: inout Outcome
    ) {
        guard let window = domain.window else { return }
        var nodes: [NodeKey] = []
        var values: [Double] = []
        for slot in domain.order where domain.nodes[slot].key.event == event {
            nodes.append(domain.nodes[slot].key)
            window.filled(slot: slot, through: bucket, length: 1, fill: domain.profile.fill, into: &values)
        }
        let scores = state.residual.observe(nodes: nodes, values: values, windowEnd: input.block.windowEnd)
        outcome.findings += scores.findings
        let shard = Shard(event: event)
        for node in scores.nodes {
            outcome.nodeScores.append(
                EvaluationBatch.NodeScore(
                    shard: shard, node: node.node.id, windowEnd: scores.windowEnd, score: Float(node.score),
                    level: Float(node.level), seasonal: Float(node.seasonal), innovation: Float(node.innovation),
                    neighbour: Float(node.neighbour)))
        }
        if let score = scores.eventScore {
            outcome.eventScores.append(
                EvaluationBatch.EventScore(
                    shard: shard, event: event, domain: domain.name, windowEnd: scores.windowEnd, score: Float(score)))
        }
    }
}

extension DomainEvaluator {
    private func periods(_ domains: [String]) -> [String: Int64] {
        var periods: [String: Int64] = [:]
        for name in domains { periods[name] = self.cache.domains[name]?.profile.periodMs }
        return periods
    }

    /// Evaluates one event again, for the pairs that are no edges.
    func rejected(_ part: Part) -> [RejectedPair] {
        guard let domain = self.cache.domains[part.domain] else { return [] }
        let builder = BlockBuilder(cache: self.cache)
        guard let block = builder.own(domain, bucket: part.bucket) else { return [] }
        var input = EvaluationInput(
            domain: part.domain, block: block, shape: WindowShape(profile: domain.profile),
            events: [part.evaluation.event], thresholds: self.thresholds)
        input.partners = builder.partners(domain, bucket: part.bucket, names: part.partners.ready)
        input.periods = self.periods([part.domain] + part.partners.ready)
        input.includesRejected = true
        return Evaluation.evaluate(input).flatMap(\.rejected)
    }
}
