import Engine
import Hummingbird
import Model
import ServiceRuntime

/// `GET /v1/forecasts`: forecasts with their scores, and how they did together.
struct ForecastRoutes: Sendable {
    static let limits = 1...500
    private static let list = "forecasts"
    let store: ForecastStore
    let timeout: QueryBound
    let answers: AnswerCache

    /// What of this route is at hand.
    var readyRoutes: [ReadyRoute] { [self.answers.route("/v1/forecasts")] }

    func add(to router: Router<CallContext>) {
        router.get("/v1/forecasts") { request, _ in
            try await self.answers.json(request) { try await self.timeout.bound { try await self.list(request) } }
        }
    }

    struct Interval: Encodable, Sendable {
        let low: Double
        let high: Double
    }

    struct Item: Encodable, Sendable {
        let id: String
        let event: String
        let source: NodeKey
        let target: NodeKey
        let movedAt: Timestamp
        let horizonAt: Timestamp
        let latencyMs: Double
        /// Source units.
        let move: Double
        let sourceSd: Double
        /// Target units per source unit.
        let beta: Double
        /// Target units, as are the interval and the outcome.
        let expectedChange: Double
        /// 80 %; left out before 20 moves of the pair have been scored.
        let interval: Interval?
        let confidence: Double
        let scored: Bool
        /// Left out while not scored, and where the target's values are not known.
        let outcome: Double?
        let covered: Bool?
        let signHit: Bool?
        let baseRate: Double?

        init(_ stored: StoredForecast) {
            let forecast = stored.forecast
            self.id = forecast.id
            self.event = forecast.event
            self.source = forecast.source
            self.target = forecast.target
            self.movedAt = forecast.movedAt
            self.horizonAt = forecast.horizonAt
            self.latencyMs = forecast.latencyMs
            self.move = forecast.move
            self.sourceSd = forecast.sourceSd
            self.beta = forecast.beta
            self.expectedChange = forecast.expectedChange
            if let low = forecast.intervalLow, let high = forecast.intervalHigh {
                self.interval = Interval(low: low, high: high)
            } else {
                self.interval = nil
            }
            self.confidence = forecast.confidence
            self.scored = stored.scoredAt != nil
            self.outcome = stored.outcome
            self.covered = stored.covered
            self.signHit = stored.signHit
            self.baseRate = stored.baseRate
        }
    }

    /// A share with its 95 % Wilson interval and the number of cases behind it.
    struct Share: Encodable, Sendable {
        let value: Double
        let low: Double
        let high: Double
        let n: Int

        init?(hits: Int, of trials: Int) {
            guard let proportion = Proportion(hits: hits, of: trials) else { return nil }
            self.value = proportion.value
            self.low = proportion.low
            self.high = proportion.high
            self.n = trials
        }
    }

    /// Over the newest forecasts of the filter (``ForecastStore/tallyLimit``), not only those of the page.
    struct Summary: Encodable, Sendable {
        let forecasts: Int
        let scored: Int
        /// Outcomes inside the 80 % interval, of those that had one.
        let coverage: Share?
        /// Outcomes that went the expected way, of those that changed at all.
        let signHitRate: Share?
        /// What the sign hit rate would be by chance: how often the targets moved that way anyway.
        let baseRate: Double?
        /// What graph-builder has written and no forecast or anomaly has been made of yet; 0: all is up to date.
        let unreadRevisions: Int

        init(_ tally: ForecastStore.Tally, unreadRevisions: Int) {
            self.forecasts = tally.forecasts
            self.scored = tally.scored
            self.coverage = Share(hits: tally.covered, of: tally.withInterval)
            self.signHitRate = Share(hits: tally.signHits, of: tally.withChange)
            self.baseRate = tally.baseRate
            self.unreadRevisions = unreadRevisions
        }
    }

    struct Answer: Encodable, Sendable {
        let items: [Item]
        let nextCursor: String?
        let summary: Summary
    }

    private func list(_ request: Request) async throws -> Answer {
        let query = try QueryParameters(request, known: ["event", "since", "scored", "limit", "cursor"])
        let scored: Bool?
        switch try query.given("scored") {
        case nil: scored = nil
        case "true": scored = true
        case "false": scored = false
        default: throw Problem(.invalidRequest, detail: "scored must be true or false")
        }
        let filter = ForecastFilter(event: try query.name("event"), since: try query.time("since"), scored: scored)
        let limit = try query.integer("limit", in: Self.limits, default: 50)
        let end = try PageEnd(query, of: Self.list)
        var (forecasts, tally, unreadRevisions) = try await self.store.overview(filter, after: end, limit: limit + 1)
        var cursor: String?
        if forecasts.count > limit {
            forecasts.removeLast(forecasts.count - limit)
            cursor = forecasts.last.map { PageEnd(time: $0.forecast.movedAt, id: $0.forecast.id).cursor(of: Self.list) }
        }
        return Answer(
            items: forecasts.map(Item.init), nextCursor: cursor,
            summary: Summary(tally, unreadRevisions: unreadRevisions))
    }
}
