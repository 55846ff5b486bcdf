import Model

/// Events, markets and domains of a block's nodes as small numbers, so that the layer of a pair is a few comparisons.
struct NodeNumbers {
    let event: [Int32]
    let market: [Int32]
    let domain: [Int32]
    /// Position of the node's event among the asked ones; -1 when it was not asked.
    let asked: [Int32]

    init(nodes: [NodeKey], askedEvents: [String]) {
        func numbered(_ name: (NodeKey) -> String) -> [Int32] {
            var numbers: [String: Int32] = [:]
            return nodes.map { node in
                let text = name(node)
                if let number = numbers[text] { return number }
                numbers[text] = Int32(numbers.count)
                return Int32(numbers.count - 1)
            }
        }
        self.event = numbered(\.event)
        self.market = numbered(\.market)
        self.domain = numbered(\.domain)
        var positions: [String: Int32] = [:]
        for (position, event) in askedEvents.enumerated() { positions[event] = Int32(position) }
        self.asked = nodes.map { positions[$0.event] ?? -1 }
    }

    @inline(__always)
    func layer(_ first: Int, _ second: Int) -> Layer {
        if self.domain[first] != self.domain[second] { return .crossDomain }
        if self.event[first] != self.event[second] { return .crossEvent }
        return self.market[first] != self.market[second] ? .crossMarket : .direct
    }
}

/// Pairs of one event's layer by what became of them so far.
struct PairCounts {
    var pairs = 0
    var short = 0
    var constant = 0
}
