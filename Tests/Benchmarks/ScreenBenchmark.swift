import Engine
import Foundation
import Model
import PlantedData
import TestSupport

/// All pairs of many nodes, against numpy on the same rows and one thread, in turn.
///
/// `UNDERCURRENT_PEERS` names a Python with numpy, and the script; scripts/bench.sh makes one. Ours does more: robust clipping,
/// the effective size of every pair, and every pair that may pass settled in double precision and tested.
enum ScreenBenchmark {
    static let benchmark = BenchmarkCase(name: "screen", run: Self.run)
    private static let threshold = 0.75

    private struct Work {
        var name: String
        var nodes: Int
        var present: Int
        var lag: Int
        /// Nodes of a group follow one factor.
        var groupSize: Int
        var rounds: Int
        var peers: [(name: String, work: String)]
    }

    private struct PeerAnswer: Decodable {
        var seconds: Double
        var found: Int?
    }

    private static let works = [
        Work(
            name: "all pairs at lag 0, 2,000 nodes x 600", nodes: 2_000, present: 600, lag: 0, groupSize: 0, rounds: 5,
            peers: [("Z @ Z.T", "product"), ("numpy.corrcoef", "corrcoef")]),
        Work(
            name: "best of 33 lags, 2,000 nodes x 256", nodes: 2_000, present: 256, lag: 16, groupSize: 0, rounds: 3,
            peers: [("17 products of numpy", "lags")]),
        Work(
            name: "accepted pairs, 10,000 nodes x 256, 33 lags, 1 % above", nodes: 10_000, present: 256, lag: 16,
            groupSize: 100, rounds: 1, peers: [("numpy in tiles", "tiles")]),
    ]

    static func run() throws -> [Measurement] {
        let environment = ProcessInfo.processInfo.environment
        guard let python = environment["UNDERCURRENT_PYTHON"], let script = environment["UNDERCURRENT_PEERS"] else {
            print("screen: NOT RUN, it needs numpy: use `make bench`")
            return []
        }
        print("screen: seed 41, 1 thread each, AR(1) .5, one event of one market, threshold \(Self.threshold)")
        return try Self.works.flatMap { try Self.measure($0, python: python, script: script) }
    }

    private static func measure(_ work: Work, python: String, script: String) throws -> [Measurement] {
        let length = work.present + work.lag
        let rows = Self.rows(nodes: work.nodes, length: length, groupSize: work.groupSize)
        let file = FileManager.default.temporaryDirectory.path + "/uc-rows-\(UInt64.random(in: 0 ... .max))"
        defer { try? FileManager.default.removeItem(atPath: file) }
        try rows.withUnsafeBytes { Data($0) }.write(to: URL(filePath: file))
        let input = Self.input(work, rows: rows, length: length)
        let clock = ContinuousClock()
        var own: [Double] = []
        var others = [[Double]](repeating: [], count: work.peers.count)
        var accepted = 0
        for round in 0...work.rounds {
            if round > 0 || work.rounds > 1 {
                let start = clock.now
                let answer = Evaluation.evaluate(input)
                if round > 0 { own.append((clock.now - start) / .seconds(1)) }
                accepted = answer[0].layers.reduce(0) { $0 + $1.accepted }
            }
            guard round > 0 else { continue }
            for (place, peer) in work.peers.enumerated() {
                let answer = try PeerProgram.ask(
                    PeerAnswer.self, [python, script, peer.work, file, "\(work.nodes)", "\(length)"])
                others[place].append(answer.seconds)
                // numpy neither clips nor tests, so the numbers of pairs agree only about.
                if let found = answer.found, abs(found - accepted) > max(50, accepted / 5) {
                    throw WrongAnswer(description: "\(accepted) accepted pairs, the peer has \(found)")
                }
            }
        }
        print("  \(work.name): \(accepted) accepted, resident \(Self.residentMB()) MB at most")
        return zip(work.peers, others).map { peer, seconds in
            Measurement(
                name: work.name, value: own.median, unit: "s", peer: peer.name, peerValue: seconds.median,
                ratio: seconds.median / own.median, spread: ((own.max() ?? 0) - (own.min() ?? 0)) / own.median)
        }
    }

    /// Node by node.
    static func rows(nodes: Int, length: Int, groupSize: Int) -> [Double] {
        var planted = PlantedSeries(seed: 41, length: length)
        var rows: [Double] = []
        rows.reserveCapacity(nodes * length)
        var factor: [Double] = []
        for node in 0..<nodes {
            let own = planted.noise(memory: 0.5)
            guard groupSize > 0 else {
                rows += own
                continue
            }
            if node % groupSize == 0 { factor = planted.noise(memory: 0.5) }
            let shift = node % 4
            for step in 0..<length {
                rows.append(0.95 * factor[max(0, step - shift)] + 0.31 * own[step])
            }
        }
        return rows
    }

    private static func input(_ work: Work, rows: [Double], length: Int) -> EvaluationInput {
        let nodes = (0..<work.nodes).map { PlantedSeries.node(String(100_000 + $0)) }
        let block = SeriesBlock(
            nodes: nodes, bucketMs: 1_000, windowEnd: Timestamp(milliseconds: 1_600_000_000_000), length: length,
            values: rows)
        return EvaluationInput(
            domain: "d", block: block, shape: WindowShape(present: work.present, baseline: 0, lag: work.lag),
            events: ["e"], thresholds: LayerThresholds(direct: Self.threshold))
    }

    /// The largest resident size this process ever had.
    private static func residentMB() -> Int {
        let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
        let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        return (line?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0) / 1_024
    }
}
