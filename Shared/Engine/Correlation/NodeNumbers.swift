import Model

/// Events, markets and domains of a block's nodes as small numbers, so that the layer of a pair is a few comparisons.
struct NodeNumbers {
    let event: [Int32]
    let market: [Int32]
    let domain: [Int32]
    /// Position of the node's event among the asked ones; -1 when it was not asked.
    let asked: [Int32]

    /// - Parameters:
    ///   - nodes: ascending, so equal domains, events and markets lie side by side.
    ///   - askedDomain: the domain whose nodes can be asked for; one of another domain may bear the name of an asked event.
    init(nodes: [NodeKey], askedEvents: [String], in askedDomain: String) {
        var positions: [String: Int32] = [:]
        for (position, event) in askedEvents.enumerated() { positions[event] = Int32(position) }
        var domains: [Int32] = [], events: [Int32] = [], markets: [Int32] = [], asked: [Int32] = []
        domains.reserveCapacity(nodes.count)
        events.reserveCapacity(nodes.count)
        markets.reserveCapacity(nodes.count)
        asked.reserveCapacity(nodes.count)
        var (domain, event, market, position): (Int32, Int32, Int32, Int32) = (0, 0, 0, -1)
        for index in nodes.indices {
            let isNewDomain = index == 0 || nodes[index].domain != nodes[index - 1].domain
            let isNewEvent = isNewDomain || nodes[index].event != nodes[index - 1].event
            if isNewDomain { domain += 1 }
            if isNewEvent {
                event += 1
                position = nodes[index].domain == askedDomain ? positions[nodes[index].event] ?? -1 : -1
            }
            if isNewEvent || nodes[index].market != nodes[index - 1].market { market += 1 }
            domains.append(domain)
            events.append(event)
            markets.append(market)
            asked.append(position)
        }
        (self.domain, self.event, self.market, self.asked) = (domains, events, markets, asked)
    }

    @inline(__always)
    func layer(_ first: Int, _ second: Int) -> Layer {
        if self.domain[first] != self.domain[second] { return .crossDomain }
        if self.event[first] != self.event[second] { return .crossEvent }
        return self.market[first] != self.market[second] ? .crossMarket : .direct
    }

    /// The places of the columns of each event, which lie side by side.
    ///
    /// - Parameter columns: rows of the block, ascending.
    func eventSpans(_ columns: [Int]) -> [Range<Int>] {
        var spans: [Range<Int>] = []
        var start = 0
        for place in columns.indices.dropFirst() where self.event[columns[place]] != self.event[columns[start]] {
            spans.append(start..<place)
            start = place
        }
        if !columns.isEmpty { spans.append(start..<columns.count) }
        return spans
    }

    /// How many of some columns of one event belong to a market; they lie side by side.
    func columns(_ columns: [Int], _ range: Range<Int>, ofMarket market: Int32) -> Int {
        func start(of market: Int32) -> Int {
            var (low, high) = (range.lowerBound, range.upperBound)
            while low < high {
                let middle = (low + high) / 2
                if self.market[columns[middle]] < market { low = middle + 1 } else { high = middle }
            }
            return low
        }
        return start(of: market + 1) - start(of: market)
    }
}

/// Pairs of one event's layer by what became of them so far.
struct PairCounts {
    var pairs = 0
    var short = 0
    var constant = 0
}
