import Engine
import Hummingbird
import Model
import Postgres
import ServiceRuntime
import Synchronization

/// `POST /v1/root-causes`.
struct RootCauseRoutes: Sendable {
    static let bodyLimit = 64 << 10
    static let nodeLimit = 20_000
    static let rowLimit = 2_000_000
    static let cellLimit = 8_000_000

    let domains: DomainStore
    let topologies: TopologyStore
    let observations: ObservationStore
    /// Questions answered at a time; each may hold millions of values.
    let admission: RootCauseAdmission
    let timeout: QueryBound
    let memory: MemoryMonitor?

    func add(to router: Router<CallContext>) {
        router.post("/v1/root-causes") { request, _ in
            let question = try await request.decodeBody(RootCauseQuestion.self, limit: Self.bodyLimit)
            try self.memory?.requireRoom(for: "Root causes")
            let answer = try await self.admission.admit {
                try await self.timeout.bound { try await self.answer(question) }
            }
            return try Response.json(answer)
        }
    }

    func answer(_ question: RootCauseQuestion) async throws -> RootCauseAnswer {
        var calls: [CallEdge] = []
        if let name = question.topology {
            calls = try await self.topologies.calls(of: name)
            guard !calls.isEmpty else { throw Problem(.notFound, detail: "there is no topology with this name") }
        }
        let domains: [String]
        if let named = question.domains {
            domains = Array(Set(named)).sorted()
        } else {
            domains = try await self.domains.domains(limit: RootCauseQuestion.domainLimit + 1)
        }
        guard domains.count <= RootCauseQuestion.domainLimit else {
            throw Self.tooMuch("more than \(RootCauseQuestion.domainLimit) domains", "name some in `domains`")
        }
        let keys = try await self.domains.nodes(inDomains: domains, limit: Self.nodeLimit + 1)
        guard !keys.isEmpty else { throw Problem(.notFound, detail: "no node of these domains has ever been observed") }
        guard keys.count <= Self.nodeLimit else {
            throw Self.tooMuch("more than \(Self.nodeLimit) nodes", "name fewer domains")
        }
        let profiles = try await self.domains.profiles()
        let nodes = keys.map { RootCauseNode(key: $0, profile: profiles[$0.domain] ?? .undeclared(domain: $0.domain)) }
            .sorted(by: RootCauseNode.isDeclaredBefore)
        let bucketMs = try await self.bucketMs(question, domains: domains, profiles: profiles)
        let reader = RootCauseReader(
            observations: self.observations, nodes: nodes, domains: domains, bucketMs: bucketMs)
        return try await reader.answer(question, calls: calls)
    }

    /// The width asked for, else the widest declared one, else the widest graph-builder uses, else a minute.
    private func bucketMs(
        _ question: RootCauseQuestion, domains: [String], profiles: [String: DomainProfile]
    ) async throws -> Int64 {
        if let width = question.bucketMs { return width }
        if let width = domains.compactMap({ profiles[$0]?.bucketMs }).max() { return width }
        return try await self.domains.bucketWidths(of: domains).values.max() ?? 60_000
    }

    static func tooMuch(_ what: String, _ advice: String) -> Problem {
        Problem(.invalidRequest, detail: "the question touches \(what): \(advice)")
    }
}

/// Reads what one question needs and ranks.
struct RootCauseReader: Sendable {
    let observations: ObservationStore
    let nodes: [RootCauseNode]
    let domains: [String]
    let bucketMs: Int64

    func answer(_ question: RootCauseQuestion, calls: [CallEdge]) async throws -> RootCauseAnswer {
        switch question.baseline {
        case .before(let milliseconds):
            let start = question.from.advanced(byMilliseconds: -milliseconds)
            let (grid, rows) = try await self.read(after: start, through: question.to, rowsBefore: 0)
            let input = RootCauseInput(
                nodes: self.nodes, grid: grid, after: question.from, through: question.to, baselineMs: milliseconds,
                callGraph: calls, target: question.target)
            return await Self.rank(input, question, from: start, to: question.from, self, rows: rows)
        case .period(let after, let through):
            let (normal, first) = try await self.read(after: after, through: through, rowsBefore: 0)
            let (window, second) = try await self.read(after: question.from, through: question.to, rowsBefore: first)
            let input = RootCauseInput(
                nodes: self.nodes, normal: normal, normalAfter: after, normalThrough: through, window: window,
                after: question.from, through: question.to, callGraph: calls, target: question.target)
            return await Self.rank(input, question, from: after, to: through, self, rows: first + second)
        }
    }

    @concurrent private static func rank(
        _ input: RootCauseInput, _ question: RootCauseQuestion, from: Timestamp, to: Timestamp,
        _ reader: RootCauseReader,
        rows: Int
    ) async -> RootCauseAnswer {
        RootCauseAnswer(
            RootCauseRanking.rank(input), question: question, input: input, baselineFrom: from, baselineTo: to,
            bucketMs: reader.bucketMs, observations: rows, domains: reader.domains)
    }

    /// Streams the rows of a period into a grid; no row is kept.
    private func read(
        after: Timestamp, through: Timestamp, rowsBefore: Int
    ) async throws -> (grid: ObservationGrid, rows: Int) {
        let buckets = ObservationGrid.bucketCount(bucketMs: self.bucketMs, after: after, through: through)
        guard buckets * self.nodes.count <= RootCauseRoutes.cellLimit else {
            throw RootCauseRoutes.tooMuch(
                "\(self.nodes.count) nodes x \(buckets) buckets, more than \(RootCauseRoutes.cellLimit) values",
                "ask for less time, fewer domains or wider buckets")
        }
        var index: [NodeID: Int] = [:]
        for (position, node) in self.nodes.enumerated() { index[node.key.id] = position }
        let numbers = index
        let box = GridBox(
            ObservationGrid(nodeCount: self.nodes.count, bucketMs: self.bucketMs, after: after, through: through))
        do {
            let rows = try await self.observations.stream(
                domains: self.domains, from: box.start, to: box.end, limit: RootCauseRoutes.rowLimit - rowsBefore
            ) { node, time, value in
                guard let position = numbers[node] else { return }
                box.add(node: position, time: time, value: value)
            }
            return (box.value, rows)
        } catch let error as PostgresError where error.code == .limitReached {
            throw RootCauseRoutes.tooMuch(
                "more than \(RootCauseRoutes.rowLimit) observations", "ask for less time or fewer domains")
        }
    }
}

/// A grid that the connection's thread fills while the request waits.
private final class GridBox: Sendable {
    let start: Timestamp
    let end: Timestamp
    private let grid: Mutex<ObservationGrid>

    init(_ grid: ObservationGrid) {
        self.start = grid.start
        self.end = grid.end
        self.grid = Mutex(grid)
    }

    func add(node: Int, time: Timestamp, value: Double) {
        self.grid.withLock { $0.add(node: node, time: time, value: value) }
    }

    var value: ObservationGrid { self.grid.withLock { $0 } }
}

/// Lets a few questions run at a time and refuses the rest at once.
final class RootCauseAdmission: Sendable {
    private let running = Mutex(0)
    private let limit: Int

    init(limit: Int) {
        precondition(limit > 0, "a limit of zero would refuse every question")
        self.limit = limit
    }

    nonisolated(nonsending) func admit<Result>(_ body: () async throws -> Result) async throws -> Result {
        let isAdmitted = self.running.withLock { count in
            guard count < self.limit else { return false }
            count += 1
            return true
        }
        guard isAdmitted else {
            throw Problem(
                .overloaded, detail: "\(self.limit) root-cause questions are being answered already", retryAfter: 1)
        }
        defer { self.running.withLock { $0 -= 1 } }
        return try await body()
    }
}
