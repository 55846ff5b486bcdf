import Model

/// The candidates of a root-cause question and the calls between them.
struct CallGraph: Sendable {
    /// Where the calls came from.
    let origin: RootCauseReport.CallGraphOrigin
    /// The candidates: events of component domains in order of declaration, then those only the graph names.
    let events: [String]
    let indexByEvent: [String: Int]
    /// Whether an event is seen by its callers alone.
    let isRemote: [Bool]
    /// By caller, then callee, without self-calls; indices into `events`.
    let edges: [Edge]
    /// Edges into and out of each event, as positions in `edges`.
    let incoming: [[Int]]
    let outgoing: [[Int]]
    /// For each node of a call domain whose event names two candidates: the edge it measures.
    let callByEvent: [String: Edge]

    struct Edge: Hashable, Sendable {
        let caller: Int
        let callee: Int
    }

    init(_ input: RootCauseInput) {
        var events: [String] = []
        var index: [String: Int] = [:]
        for node in input.nodes where node.isCandidate && index[node.key.event] == nil {
            index[node.key.event] = events.count
            events.append(node.key.event)
        }
        var calls: [String: CallEdge] = [:]
        for node in input.nodes where node.role == .call && calls[node.key.event] == nil {
            calls[node.key.event] = Self.call(named: node.key.event, among: index)
        }
        let declared = Set(input.callGraph)
        let graph = (declared.isEmpty ? Set(calls.values) : declared).sorted()
        self.origin = !declared.isEmpty ? .declared : graph.isEmpty ? .none : .calls
        for name in graph.flatMap({ [$0.caller, $0.callee] }) where index[name] == nil {
            index[name] = events.count
            events.append(name)
        }
        func edge(_ call: CallEdge) -> Edge? {
            guard let caller = index[call.caller], let callee = index[call.callee] else { return nil }
            return Edge(caller: caller, callee: callee)
        }
        let edges = graph.compactMap(edge).filter { $0.caller != $0.callee }
        var incoming = [[Int]](repeating: [], count: events.count)
        var outgoing = incoming
        for (position, edge) in edges.enumerated() {
            incoming[edge.callee].append(position)
            outgoing[edge.caller].append(position)
        }
        let seen = Set(input.nodes.lazy.filter { $0.role == .component }.map(\.key.event))
        let remote = Set(input.nodes.lazy.filter { $0.role == .remote }.map(\.key.event))
        self.isRemote = events.map { remote.contains($0) && !seen.contains($0) }
        self.events = events
        self.indexByEvent = index
        self.edges = edges
        self.incoming = incoming
        self.outgoing = outgoing
        self.callByEvent = calls.compactMapValues(edge)
    }

    /// Splits `A_B` at the last underscore that leaves a candidate on both sides (names may hold underscores themselves).
    private static func call(named name: String, among index: [String: Int]) -> CallEdge? {
        let bytes = name.utf8
        for position in bytes.indices.reversed() where bytes[position] == UInt8(ascii: "_") {
            let caller = String(name[..<position])
            let callee = String(name[bytes.index(after: position)...])
            if index[caller] != nil, index[callee] != nil { return CallEdge(caller: caller, callee: callee) }
        }
        return nil
    }
}
