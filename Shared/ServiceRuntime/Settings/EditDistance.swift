/// How many insertions, deletions, replacements and swaps of neighbours turn one text into another (optimal string
/// alignment); texts here are key names, so short.
enum EditDistance {
    static func between(_ first: String, _ second: String) -> Int {
        let a = Array(first.utf8)
        let b = Array(second.utf8)
        var beforePrevious: [Int] = []
        var previous = Array(0...b.count)
        for i in 0..<a.count {
            var current = [i + 1]
            for j in 0..<b.count {
                var best = min(previous[j + 1] + 1, current[j] + 1, previous[j] + (a[i] == b[j] ? 0 : 1))
                if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { best = min(best, beforePrevious[j - 1] + 1) }
                current.append(best)
            }
            beforePrevious = previous
            previous = current
        }
        return previous[b.count]
    }

    /// The nearest of `names`, when it is near enough to be meant: at most two steps, and less than a quarter of the name.
    static func nearest(to name: String, among names: some Sequence<String>) -> String? {
        let limit = min(2, name.utf8.count / 4)
        guard limit > 0 else { return nil }
        return
            names.lazy
            .filter { abs($0.utf8.count - name.utf8.count) <= limit }
            .map { (distance: Self.between(name, $0), name: $0) }
            .filter { (1...limit).contains($0.distance) }
            .min { ($0.distance, $0.name) < ($1.distance, $1.name) }?.name
    }
}
