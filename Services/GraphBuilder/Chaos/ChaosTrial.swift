import Model

/// A trial that breaks something on purpose, and what should come of it.
struct ChaosTrial: Decodable, Sendable, Hashable {
    enum Kind: String, Codable, CaseIterable, Sendable {
        case layer, allLayers, slowDatabase, connectionLoss, workerKill, memory
    }

    static let longestSeconds = 300

    var kind: Kind
    /// `L1` ... `L4`, for `layer`.
    var layer: String?
    /// How long it lasts, for all but `connectionLoss` and `workerKill`.
    var seconds: Int?
    /// What is waited before each read on the server, for `slowDatabase`.
    var delayMs: Int?

    /// The trial with everything it needs.
    struct Plan: Sendable, Hashable {
        var kind: Kind
        var layers: [Layer] = []
        var seconds = 0
        var delayMs = 0
    }

    func plan() throws(Problem) -> Plan {
        let seconds = self.seconds ?? 10
        guard (1...Self.longestSeconds).contains(seconds) else {
            throw Problem(.invalidRequest, detail: "seconds must be from 1 to \(Self.longestSeconds)")
        }
        var plan = Plan(kind: self.kind, seconds: seconds)
        switch self.kind {
        case .layer:
            guard let layer = Layer.allCases.first(where: { $0.code == self.layer }) else {
                throw Problem(.invalidRequest, detail: "layer must be one of L1, L2, L3, L4")
            }
            plan.layers = [layer]
        case .allLayers: plan.layers = Layer.allCases
        case .slowDatabase:
            plan.delayMs = self.delayMs ?? 200
            guard (1...10_000).contains(plan.delayMs) else {
                throw Problem(.invalidRequest, detail: "delayMs must be from 1 to 10000")
            }
        case .connectionLoss, .workerKill: plan.seconds = 0
        case .memory: break
        }
        return plan
    }
}

extension ChaosTrial.Plan {
    /// The same without layers that rest by choice: what is not computed cannot fail.
    /// - Throws: 400 when no layer is left.
    func leaving(out resting: Set<Layer>) throws(Problem) -> Self {
        guard self.kind == .layer || self.kind == .allLayers else { return self }
        var plan = self
        plan.layers.removeAll { resting.contains($0) }
        guard !plan.layers.isEmpty else {
            let names = self.layers.map(\.code).joined(separator: ", ")
            throw Problem(
                .invalidRequest, detail: "nothing of \(names) is computed (LAYERS_OFF, L4_MODE), so it cannot fail")
        }
        return plan
    }

    var expectation: String {
        switch self.kind {
        case .layer, .allLayers:
            "graphs say that \(self.layers.map(\.code).joined(separator: ", ")) failed and why, the other layers stay as they are, /health is DEGRADED, and after \(self.seconds) s and the pause of the circuit all is as before"
        case .slowDatabase:
            "reads that need the database end in 504 after QUERY_TIMEOUT_MS when \(self.delayMs) ms are longer than that, graphs in memory are served as before"
        case .connectionLoss: "at most the requests under way fail with 503 and retryAfter; the next ones succeed"
        case .workerKill:
            "evaluation begins anew from the database and comes to the same graphs; nothing is stored twice"
        case .memory:
            "nothing is built and questions that build are answered 503 MEMORY_LIMIT_EXCEEDED for \(self.seconds) s, graphs in memory are served, then building goes on"
        }
    }
}
