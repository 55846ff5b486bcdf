import Foundation
import Model
import Recordings

/// One labelled recording of the repository's samples on its regular clock, the last value held.
struct LabelledServer {
    var nodes: [NodeKey]
    var start: Int64
    var stepMs: Int64
    /// Rows of one value per node.
    var rows: [[Double]]
    var isFault: [Bool]
    var firstTestRow: Int

    static let samples = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().appending(path: "Samples")

    struct Missing: Error {}

    static func load(_ entity: String) throws -> LabelledServer {
        let folder = Self.samples.appending(path: "labelled-asd")
        let entities = try String(contentsOf: folder.appending(path: "entities.csv"), encoding: .utf8)
        guard let line = entities.split(separator: "\n").first(where: { $0.hasPrefix(entity + ",") }) else {
            throw Missing()
        }
        let fields = line.split(separator: ",").map { Int64($0) ?? 0 }
        let (start, test, end, step) = (fields[1], fields[2], fields[3], fields[4])
        let count = Int((end - start) / step) + 1
        let reader = try RecordingReader(path: folder.appending(path: "\(entity).csv.gz").path)
        var series: [NodeKey: [Double]] = [:]
        while let observation = try reader.next() {
            let row = Int((observation.time.milliseconds - start) / step)
            series[observation.node, default: [Double](repeating: .nan, count: count)][row] = observation.value
        }
        let nodes = series.keys.sorted()
        let columns = nodes.map { node in
            var held = Double.nan
            return (series[node] ?? []).map { value in
                if value.isFinite { held = value }
                return held
            }
        }
        let labels = try String(contentsOf: folder.appending(path: "labels.csv"), encoding: .utf8)
        var isFault = [Bool](repeating: false, count: count)
        for line in labels.split(separator: "\n") where line.hasPrefix(entity + ",") {
            let interval = line.split(separator: ",")[1...2].compactMap { Int64($0) }
            for row in 0..<count {
                let time = start + Int64(row) * step
                if interval[0] <= time, time <= interval[1] { isFault[row] = true }
            }
        }
        return LabelledServer(
            nodes: nodes, start: start, stepMs: step, rows: (0..<count).map { row in columns.map { $0[row] } },
            isFault: isFault, firstTestRow: Int((test - start) / step))
    }
}

/// Area under the precision-recall curve, tied scores taken together.
enum AveragePrecision {
    static func of(scores: [Double], labels: [Bool]) -> Double {
        let order = scores.indices.sorted { scores[$0] > scores[$1] }
        let positives = Double(labels.count(where: { $0 }))
        var (hits, taken, area, recall) = (0.0, 0.0, 0.0, 0.0)
        var index = 0
        while index < order.count {
            let score = scores[order[index]]
            while index < order.count, scores[order[index]] == score {
                hits += labels[order[index]] ? 1 : 0
                taken += 1
                index += 1
            }
            area += (hits / positives - recall) * hits / taken
            recall = hits / positives
        }
        return area
    }
}
