/// The table f(h, v) of ``PathSearch``, filled layer by layer.
struct HopLayers {
    private let graph: PropagationGraph
    private let depth: Int
    private let goal: Int?
    private let count: Int
    /// Largest product of any kept entry of the node so far; 0: not reached.
    private var best: [Double]
    /// Links of that entry.
    private var bestHops: [UInt8]
    /// (depth + 1) x n: the link the kept entry came by, -1 where there is none.
    private var arrivedBy: [Int32]
    /// (depth + 1) x n: the node it came from.
    private var cameFrom: [Int32]
    private var frontier: [Int32]
    private(set) var reached: Int

    init(graph: PropagationGraph, source: Int, depth: Int, goal: Int?) {
        self.graph = graph
        self.depth = depth
        self.goal = goal
        self.count = graph.nodes.count
        self.best = [Double](repeating: 0, count: self.count)
        self.bestHops = [UInt8](repeating: 0, count: self.count)
        self.arrivedBy = [Int32](repeating: -1, count: (depth + 1) * self.count)
        self.cameFrom = [Int32](repeating: -1, count: (depth + 1) * self.count)
        self.best[source] = 1
        self.frontier = [Int32(source)]
        self.reached = 1
    }

    mutating func run() {
        var values = [1.0]
        var hop = 1
        while hop <= self.depth, !self.frontier.isEmpty {
            let next = self.step(hop: hop, values: values)
            values = next.map { self.best[Int($0)] }
            self.frontier = next
            hop += 1
        }
    }

    /// Fills layer `hop` from the frontier of the layer before, whose products are `values`; returns the new frontier.
    private mutating func step(hop: Int, values: [Double]) -> [Int32] {
        var next: [Int32] = []
        let row = hop * self.count
        let rowStart = self.graph.rowStart
        let goal = self.goal ?? -1
        self.graph.targets.withUnsafeBufferPointer { targets in
            self.graph.weights.withUnsafeBufferPointer { weights in
                for (place, from) in self.frontier.enumerated() {
                    let value = values[place]
                    // Not above what the target has already by fewer links: no way through this entry can win.
                    if goal >= 0, value <= self.best[goal], value < self.best[goal] || self.bestHops[goal] < hop {
                        continue
                    }
                    for link in rowStart[Int(from)]..<rowStart[Int(from) + 1] {
                        let product = value * weights[link]
                        let node = Int(targets[link])
                        let known = self.best[node]
                        if product < known { continue }
                        if product == known {
                            self.settleTie(hop: hop, node: node, link: link, from: from, product: product)
                            continue
                        }
                        if goal >= 0, node != goal, product <= self.best[goal] { continue }
                        if known == 0 { self.reached += 1 }
                        if self.bestHops[node] != UInt8(hop) || known == 0 { next.append(Int32(node)) }
                        self.best[node] = product
                        self.bestHops[node] = UInt8(hop)
                        self.arrivedBy[row + node] = Int32(link)
                        self.cameFrom[row + node] = from
                    }
                }
            }
        }
        return next
    }

    /// An equal product with equally many links: the path whose nodes come first is kept. With fewer links the known one wins.
    private mutating func settleTie(hop: Int, node: Int, link: Int, from: Int32, product: Double) {
        guard product > 0, self.bestHops[node] == UInt8(hop), self.arrivedBy[hop * self.count + node] >= 0 else {
            return
        }
        let row = hop * self.count
        let rival = self.cameFrom[row + node]
        let isEarlier = self.nodes(endingAt: Int(from), hop: hop - 1)
            .lexicographicallyPrecedes(self.nodes(endingAt: Int(rival), hop: hop - 1))
        guard isEarlier else { return }
        self.arrivedBy[row + node] = Int32(link)
        self.cameFrom[row + node] = from
    }

    /// The nodes of the kept way of `hop` links to a node, source first.
    private func nodes(endingAt node: Int, hop: Int) -> [Int32] {
        var way = [Int32(node)]
        var at = node
        var layer = hop
        while layer > 0 {
            at = Int(self.cameFrom[layer * self.count + at])
            way.append(Int32(at))
            layer -= 1
        }
        return way.reversed()
    }

    /// The signed product of r along the best way to a node, first link first; nil when it was not reached.
    func response(of node: Int) -> Double? {
        guard self.best[node] > 0 else { return nil }
        return self.response(endingAt: node, hop: Int(self.bestHops[node]))
    }

    /// At most eight links deep.
    private func response(endingAt node: Int, hop: Int) -> Double {
        guard hop > 0 else { return 1 }
        let place = hop * self.count + node
        return self.response(endingAt: Int(self.cameFrom[place]), hop: hop - 1)
            * self.graph.links[Int(self.arrivedBy[place])].score
    }

    /// The links of the best way to a node, first to last; nil when it was not reached.
    func links(to node: Int) -> [Int]? {
        guard self.best[node] > 0 else { return nil }
        var way: [Int] = []
        var at = node
        var layer = Int(self.bestHops[node])
        while layer > 0 {
            way.append(Int(self.arrivedBy[layer * self.count + at]))
            at = Int(self.cameFrom[layer * self.count + at])
            layer -= 1
        }
        return way.reversed()
    }
}
