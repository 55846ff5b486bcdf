import Foundation
import Model

/// Evidence where no calls are known: who waits for whom is guessed from what moved together in the baseline.
///
/// Three things are different from a system with known calls. (1) Waiting for others is no fault of one's own: the surprise of
/// `waiting` nodes is charged to those the event may be calling, in proportion to likeness^4 x (1 + surprise of their own
/// impact) x (share of their likely callers' waiting)^2, and explains as much of the event's own impact. The last factor
/// clears those whose other callers do not wait. (2) What moves as the event's own load moves is explained by it; a
/// load that fell by more than that of all who may be calling accuses these. (3) A component that answers faster than ever may
/// have stopped doing its work: half the surprise of a fall counts as local evidence.
///
/// Likeness of A and B: the sum of two rank correlations (Spearman 1904) of the baseline, where positive: A's waiting and B's
/// impact, A's load and B's load. Cost: O(callers x events x baseline), the callers bounded.
struct UnseenCalls {
    /// Events whose waiting, and whose load, is charged to others: those with the most of it.
    static let chargedLimit = 50
    /// Callers looked at: those with the most waiting, and others at even places.
    static let callerLimit = 200
    /// Weight of one who may be called but does not suffer, beside the surprise of one who does.
    static let calmWeight = 1.0
    static let fallShare = 0.5
    /// Those at least this near to the most alike may be calling.
    static let nearCaller = 0.25

    /// The own evidence of each event, and what others' evidence adds.
    private(set) var impact: [Double]
    private(set) var local: [Double]
    /// The part of `local` that comes of falls: it ranks, but says nothing of whether anything is wrong.
    private(set) var falls: [Double]
    private(set) var accusers: [[RootCauseReport.Accuser]]

    private let input: RootCauseInput
    private let events: [String]
    private let bend: Double
    private var waits: [Double]
    private var served: [Double]
    private var loads: [Load?]
    /// Ranks over the baseline of the first waiting, impact and load node of each event.
    private var waitRanks: [[Double]?]
    private var servedRanks: [[Double]?]
    private var loadRanks: [[Double]?]

    private struct Load {
        let shift: Double
        let scale: Double
        let surprise: Double
    }

    init(
        _ input: RootCauseInput, change: HeldChange, graph: CallGraph, parameters: RootCauseParameters
    ) {
        let count = graph.events.count
        self.input = input
        self.events = graph.events
        self.bend = parameters.bend
        self.waits = [Double](repeating: 0, count: count)
        self.served = self.waits
        self.impact = self.waits
        self.local = self.waits
        self.falls = self.waits
        self.loads = [Load?](repeating: nil, count: count)
        self.waitRanks = [[Double]?](repeating: nil, count: count)
        self.servedRanks = self.waitRanks
        self.loadRanks = self.waitRanks
        self.accusers = [[RootCauseReport.Accuser]](repeating: [], count: count)
        self.gather(change, graph: graph, markets: parameters.localMarkets)
        for event in 0..<count { self.impact[event] = max(0, self.served[event] - self.waits[event]) }
        self.chargeWaiting()
        self.chargeLoad()
    }

    private func surprise(_ strength: Double) -> Double { log1p(strength * strength / self.bend) }

    private mutating func gather(_ change: HeldChange, graph: CallGraph, markets: Int) {
        var locals = [[String: [Int]]](repeating: [:], count: self.events.count)
        var falls = [Double](repeating: 0, count: self.events.count)
        for (position, node) in self.input.nodes.enumerated() where change.strength[position].isFinite {
            guard node.isCandidate, let event = graph.indexByEvent[node.key.event] else { continue }
            let strength = self.surprise(change.strength[position])
            switch node.facts.kind {
            case .waiting:
                self.waits[event] = max(self.waits[event], strength)
                self.waitRanks[event] = self.waitRanks[event] ?? self.ranks(position)
            case .impact:
                self.served[event] = max(self.served[event], strength)
                guard !node.facts.isPercentOfSuccesses else { continue }
                self.servedRanks[event] = self.servedRanks[event] ?? self.ranks(position)
                falls[event] = max(falls[event], self.surprise(change.relief[position]))
            case .load:
                self.loads[event] = Load(
                    shift: change.shift[position], scale: change.scale[position], surprise: strength)
                self.loadRanks[event] = self.ranks(position)
            case .local: locals[event][node.key.market, default: []].append(position)
            }
        }
        for event in self.events.indices {
            let load = self.loads[event]
            let beyond = locals[event].values.map { positions in
                positions.reduce(0) { max($0, self.unexplained($1, change: change, load: load)) }
            }
            self.local[event] = beyond.sorted(by: >).prefix(markets).reduce(0, +)
            self.falls[event] = Self.fallShare * max(0, falls[event] - (load?.surprise ?? 0))
            self.local[event] += self.falls[event]
        }
    }

    /// The surprise of a local node that its event's load does not explain, growing as that at most.
    private func unexplained(_ node: Int, change: HeldChange, load: Load?) -> Double {
        let whole = self.surprise(change.strength[node])
        guard let load else { return whole }
        let rest = max(0, whole - load.surprise)
        guard (change.shift[node] < 0) == (load.shift < 0) else { return rest }
        let shared = min(abs(load.shift), abs(change.shift[node])) / change.scale[node]
        return min(rest, self.surprise(max(0, abs(change.strength[node]) - shared)))
    }

    /// Those with the most of something, most first.
    private static func largest(_ amounts: [Double]) -> [Int] {
        let some = amounts.indices.filter { amounts[$0] > 0 }
        return Array(
            some.sorted { amounts[$0] != amounts[$1] ? amounts[$0] > amounts[$1] : $0 < $1 }.prefix(Self.chargedLimit))
    }

    private mutating func chargeWaiting() {
        let waiters = Self.largest(self.waits)
        guard let most = waiters.first.map({ self.waits[$0] }) else { return }
        let calm = self.events.indices.filter { self.waits[$0] <= 0 || !waiters.contains($0) }
        let stride = max(1, (calm.count + Self.callerLimit - waiters.count - 1) / (Self.callerLimit - waiters.count))
        let callers = waiters + calm.indices.filter { $0 % stride == 0 }.map { calm[$0] }
        let bonds = callers.map { caller in
            self.events.indices.map { callee in
                let likeness = callee == caller ? 0 : self.likeness(caller, callee)
                return likeness * likeness * likeness * likeness
            }
        }
        let share = self.events.indices.map { callee -> Double in
            let whole = bonds.reduce(0) { $0 + $1[callee] }
            let waiting = zip(callers, bonds).reduce(0) { $0 + self.waits[$1.0] * $1.1[callee] }
            return whole > 0 ? waiting / (whole * most) : 0
        }
        for (caller, bond) in zip(waiters, bonds) {
            let weights = self.events.indices.map {
                bond[$0] * (Self.calmWeight + self.served[$0]) * share[$0] * share[$0]
            }
            let whole = weights.reduce(0, +)
            guard whole > 0 else {
                self.impact[caller] += self.waits[caller]
                continue
            }
            for (callee, weight) in weights.enumerated() where weight > 0 {
                let portion = self.waits[caller] * weight / whole
                self.impact[callee] += portion
                self.accusers[callee].append(
                    .init(event: self.events[caller], reason: .suspectedCall, evidence: portion))
            }
        }
    }

    private mutating func chargeLoad() {
        let fallen = self.loads.map { load in load.map { $0.shift < 0 ? $0.surprise : 0 } ?? 0 }
        for event in Self.largest(fallen) {
            guard let load = self.loads[event] else { continue }
            let likeness = self.events.indices.map { $0 == event ? 0 : self.likeness($0, event) }
            let weights = likeness.map { $0 * $0 * $0 * $0 }
            let most = weights.max() ?? 0
            // The fall that the nearest of those who may be calling leaves unexplained.
            let near = self.events.indices.filter { weights[$0] > Self.nearCaller * most }
            let rests = near.compactMap { caller in self.loads[caller].map { load.shift - $0.shift } }
            guard let rest = rests.min(by: { abs($0) < abs($1) }), rest < 0 else { continue }
            let whole = weights.reduce(0, +)
            let evidence = self.surprise(rest / load.scale)
            for (caller, weight) in weights.enumerated() where weight > 0 {
                let portion = evidence * weight / whole
                self.local[caller] += portion
                self.accusers[caller].append(
                    .init(event: self.events[event], reason: .unexplainedLoad, evidence: portion))
            }
        }
    }

    private func likeness(_ caller: Int, _ callee: Int) -> Double {
        Self.alike(self.waitRanks[caller], self.servedRanks[callee])
            + Self.alike(self.loadRanks[caller], self.loadRanks[callee])
    }

    /// The rank correlation where it is positive and known.
    private static func alike(_ one: [Double]?, _ other: [Double]?) -> Double {
        guard let one, let other else { return 0 }
        return max(0, RankCorrelation.value(one, other) ?? 0)
    }

    private func ranks(_ node: Int) -> [Double] {
        let length = self.input.baselineLength
        return RankCorrelation.ranks(self.input.baseline[node * length..<(node + 1) * length])
    }
}

extension RootCauseEvidence {
    /// Takes the guesses of ``UnseenCalls`` in place of what known calls would say.
    mutating func suspectCalls(
        _ input: RootCauseInput, change: HeldChange, graph: CallGraph, parameters: RootCauseParameters
    ) {
        let guess = UnseenCalls(input, change: change, graph: graph, parameters: parameters)
        self.impact = guess.impact
        self.local = guess.local
        self.falls = guess.falls
        self.accusers = guess.accusers
    }
}
