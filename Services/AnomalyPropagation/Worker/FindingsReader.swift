import Engine
import Foundation
import Logging
import Model
import Postgres

/// Turns what graph-builder has written into anomalies and forecasts, round by round.
///
/// A round reads the evaluations and findings above the position of each shard, advances the episodes and forecasts, and writes
/// rows and positions in one transaction. Rows have ids that follow from the findings, so a round that is repeated (after a
/// crash, by a second replica) changes nothing. Memory is a cache: after any failure it is dropped and read again.
actor FindingsReader {
    struct Bounds: Sendable {
        /// Evaluations taken in per shard and round.
        var evaluationsPerShard = 50
        /// How long a position may stay unsaved while there is nothing else to write.
        var saveInterval: Duration = .seconds(2)
        /// How often forecasts that nobody scored (their replica died) are looked for.
        var sweepInterval: Duration = .seconds(15)
        var sweepLimit = 2_000
        var profileAge: Duration = .seconds(5)
        /// Rows per statement.
        var rowsPerStatement = 2_000
    }

    private let pool: PostgresPool
    private let findings: FindingStore
    private let forecasts: ForecastStore
    private let outcomes: OutcomeReader
    private let metrics: WorkerMetrics
    private let bounds: Bounds
    private let clock = ContinuousClock()

    private var positions: [Shard: Int64]?
    private var episodes = EpisodeBook()
    private var book = ForecastBook()
    /// Forecasts that waited when positions were loaded; planned before anything else.
    private var resumed: [Forecast] = []
    /// What is stored of ``ForecastBook/waiting``.
    private var storedWaiting: [Shard: [Forecast]] = [:]
    private var rates = OutcomeReader.BaseRates()
    private var watermarks: [String: Timestamp] = [:]
    private var profiles: [String: DomainProfile] = [:]
    private var profilesReadAt: ContinuousClock.Instant?
    private var savedAt: ContinuousClock.Instant
    private var sweptAt: ContinuousClock.Instant?
    private var levelAt: ContinuousClock.Instant
    private var unsaved = Set<Shard>()

    init(pool: PostgresPool, metrics: WorkerMetrics = WorkerMetrics(), bounds: Bounds = Bounds()) {
        self.pool = pool
        self.findings = FindingStore(pool: pool)
        self.forecasts = ForecastStore(pool: pool)
        self.outcomes = OutcomeReader(observations: ObservationStore(pool: pool))
        self.metrics = metrics
        self.bounds = bounds
        self.savedAt = self.clock.now
        self.levelAt = self.clock.now
    }

    /// Takes in what is there, within the bounds of one round.
    /// - Returns: whether there is more.
    func round() async throws -> Bool {
        do {
            return try await self.attempt()
        } catch {
            self.positions = nil
            throw error
        }
    }

    /// Saves positions that are not in the database yet; losing them costs only repeated work.
    func saveUnsaved() async throws {
        guard let positions = self.positions, !self.unsaved.isEmpty else { return }
        try await self.write(Changes(), positions: positions)
    }

    private func attempt() async throws -> Bool {
        let start = self.clock.now
        let positions = try await self.loadedPositions()
        try await self.refreshProfiles()
        let revisions = try await self.findings.revisions()
        let spans = revisions.sorted { $0.key < $1.key }.compactMap { shard, newest -> RevisionSpan? in
            let position = positions[shard] ?? 0
            return newest > position ? RevisionSpan(shard: shard, low: position, high: newest) : nil
        }
        try await self.sweepIfDue()
        guard !spans.isEmpty || !self.resumed.isEmpty else {
            self.levelAt = self.clock.now
            self.metrics.recordLag(revisions: 0, seconds: 0)
            if self.clock.now - self.savedAt > self.bounds.saveInterval { try await self.saveUnsaved() }
            return false
        }
        let bounded = try await self.findings.bounded(spans, limit: self.bounds.evaluationsPerShard)
        let (buckets, rows) = try await self.findings.read(bounded)
        self.metrics.recordRead(evaluations: buckets.count, findings: rows.count)
        var changes = self.advance(buckets, rows)
        changes.round = try await self.forecast(rows.map(\.finding).filter { $0.kind == .move })
        var next = positions
        for span in bounded {
            next[span.shard] = span.high
            self.unsaved.insert(span.shard)
        }
        if !changes.isEmpty || self.clock.now - self.savedAt > self.bounds.saveInterval {
            try await self.write(changes, positions: next)
        }
        self.positions = next
        let behind = spans.reduce(0) { $0 + $1.high } - bounded.reduce(0) { $0 + $1.high }
        self.metrics.recordLag(revisions: behind, seconds: (self.clock.now - self.levelAt) / .seconds(1))
        self.metrics.recordEpisodes(open: self.episodes.openCount, refused: self.episodes.refusedCount)
        self.metrics.recordRound(self.clock.now - start)
        return behind > 0
    }

    private func loadedPositions() async throws -> [Shard: Int64] {
        if let positions = self.positions { return positions }
        self.episodes = EpisodeBook()
        self.book = ForecastBook()
        self.storedWaiting = [:]
        self.unsaved = []
        self.sweptAt = nil
        var positions: [Shard: Int64] = [:]
        let store = ReaderPositionStore(pool: self.pool)
        for position in try await store.positions() {
            try self.episodes.restore(position.shard, state: position.state)
            positions[position.shard] = position.revision
        }
        for row in try await store.positions(of: ReaderPositionStore.waitingForecasts) {
            self.storedWaiting[row.shard] = try JSONDecoder().decode([Forecast].self, from: Data(row.state))
        }
        self.resumed = self.storedWaiting.sorted { $0.key < $1.key }.flatMap(\.value)
        self.watermarks = try await self.findings.watermarks()
        self.positions = positions
        return positions
    }

    private func refreshProfiles() async throws {
        if let readAt = self.profilesReadAt, self.clock.now - readAt < self.bounds.profileAge { return }
        self.profiles = try await DomainStore(pool: self.pool).profiles()
        self.profilesReadAt = self.clock.now
    }

    /// What a round writes, beside positions.
    private struct Changes {
        /// The newest state of each episode that changed.
        var anomalies: [Anomaly] = []
        var round = ForecastBook.Round()

        var isEmpty: Bool { self.anomalies.isEmpty && self.round.made.isEmpty && self.round.scored.isEmpty }
    }

    /// Advances the episodes of every shard and domain in order of their window ends.
    private func advance(_ buckets: [EvaluatedBucket], _ rows: [StoredFinding]) -> Changes {
        struct Place: Hashable {
            let shard: Shard
            let domain: String
            let windowEnd: Timestamp
        }
        var byPlace: [Place: [Finding]] = [:]
        for row in rows {
            let place = Place(shard: row.shard, domain: row.domain, windowEnd: row.finding.windowEnd)
            byPlace[place, default: []].append(row.finding)
        }
        var changed: [String: Anomaly] = [:]
        for bucket in buckets {
            let place = Place(shard: bucket.shard, domain: bucket.domain, windowEnd: bucket.windowEnd)
            let changes = self.episodes.advance(bucket, findings: byPlace[place] ?? [])
            for anomaly in changes.opened + changes.updated + changes.closed { changed[anomaly.id] = anomaly }
            self.watermarks[bucket.domain] = max(self.watermarks[bucket.domain] ?? .earliest, bucket.windowEnd)
        }
        return Changes(anomalies: changed.values.sorted { $0.id < $1.id })
    }

    private func forecast(_ moves: [Finding]) async throws -> ForecastBook.Round {
        let candidates = self.resumed + ForecastBook.candidates(moves)
        let unknown = self.book.unknownPairs(in: candidates)
        for start in stride(from: 0, to: unknown.count, by: self.bounds.rowsPerStatement) {
            let pairs = Array(unknown[start..<min(unknown.count, start + self.bounds.rowsPerStatement)])
            let open = try await self.forecasts.open(of: pairs)
            self.book.restore(pairs, calibrators: try await self.forecasts.calibrators(of: pairs), open: open)
        }
        self.book.plan(candidates)
        self.resumed = []
        let due = self.book.due(self.watermarks)
        return self.book.settle(try await self.readOutcomes(of: due))
    }

    private func readOutcomes(of forecasts: [Forecast]) async throws -> [String: ForecastBook.Outcome] {
        var outcomes: [String: ForecastBook.Outcome] = [:]
        for start in stride(from: 0, to: forecasts.count, by: self.bounds.rowsPerStatement) {
            let part = Array(forecasts[start..<min(forecasts.count, start + self.bounds.rowsPerStatement)])
            var rates = self.rates
            let read = try await self.outcomes.outcomes(of: part, profiles: self.profiles, remembering: &rates)
            self.rates = rates
            outcomes.merge(read) { first, _ in first }
        }
        return outcomes
    }

    /// Scores forecasts whose horizon has passed and that no living replica holds.
    private func sweepIfDue() async throws {
        if let sweptAt = self.sweptAt, self.clock.now - sweptAt < self.bounds.sweepInterval { return }
        self.sweptAt = self.clock.now
        let pending = try await self.forecasts.pending(upTo: self.watermarks, limit: self.bounds.sweepLimit)
            .filter { !self.book.holds($0) }
        guard !pending.isEmpty else { return }
        let outcomes = try await self.readOutcomes(of: pending)
        let scored = pending.map { forecast in
            ScoredForecast(
                forecast: forecast,
                score: outcomes[forecast.id].flatMap { outcome in
                    outcome.change.map { ForecastScore(forecast, outcome: $0, baseRate: outcome.baseRate) }
                })
        }
        var changes = Changes()
        changes.round.scored = scored
        try await self.write(changes, positions: [:])
        for forecast in pending { self.book.forget(forecast) }
    }

    /// - Parameter positions: those of shards not saved yet are written too.
    private func write(_ changes: Changes, positions: [Shard: Int64]) async throws {
        let size = self.bounds.rowsPerStatement
        func parts<Element>(_ all: [Element]) -> [[Element]] {
            stride(from: 0, to: all.count, by: size).map { Array(all[$0..<min(all.count, $0 + size)]) }
        }
        let anomalies = try parts(changes.anomalies).map(AnomalyStore.merge)
        let made = parts(changes.round.made).map(ForecastStore.insert)
        let scored = parts(changes.round.scored).map(ForecastStore.score)
        let saved = try self.unsaved.filter { positions[$0] != nil }.map { shard in
            ReaderPosition(
                shard: shard, revision: positions[shard] ?? 0, state: try self.episodes.state(of: shard))
        }
        let waiting = positions.isEmpty ? self.storedWaiting : self.book.waiting
        let queries =
            anomalies + made + scored + (saved.isEmpty ? [] : [ReaderPositionStore.save(saved)])
            + (try self.save(waiting))
        guard !queries.isEmpty else { return }
        let results = try await self.pool.withRetriedTransaction { connection in
            try await connection.pipeline(queries)
        }
        self.storedWaiting = waiting
        if !saved.isEmpty {
            self.unsaved = []
            self.savedAt = self.clock.now
        }
        try self.record(results, anomalies: anomalies.count, made: made.count)
    }

    /// What has changed of the forecasts that wait: stored with the positions behind which they are.
    private func save(_ waiting: [Shard: [Forecast]]) throws -> [PostgresQuery] {
        let changed = Set(waiting.keys).union(self.storedWaiting.keys)
            .filter { waiting[$0, default: []] != self.storedWaiting[$0, default: []] }
        guard !changed.isEmpty else { return [] }
        let rows = try changed.map { shard in
            ReaderPosition(
                shard: shard, revision: ReaderPositionStore.holdsNothingBack,
                state: Array(try JSONEncoder().encode(waiting[shard, default: []])))
        }
        return [ReaderPositionStore.save(rows, of: ReaderPositionStore.waitingForecasts)]
    }

    private func record(_ results: [PostgresRows], anomalies: Int, made: Int) throws {
        for rows in results.prefix(anomalies) {
            for (kind, isNew) in try rows.decode((String, Bool).self) where isNew {
                if let kind = FindingKind(rawValue: kind) { self.metrics.recordOpened(kind) }
            }
        }
        self.metrics.recordMade(results.dropFirst(anomalies).prefix(made).reduce(0) { $0 + $1.affectedRows })
        for rows in results.dropFirst(anomalies + made) {
            for row in rows {
                let (isKnown, covered, signHit) = try row.decode((Bool, Bool?, Bool?).self)
                self.metrics.recordScored(isKnown: isKnown, covered: covered, signHit: signHit)
            }
        }
    }
}
