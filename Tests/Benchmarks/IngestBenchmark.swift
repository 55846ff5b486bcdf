import Foundation
import Model
import NIOCore

/// Durable ingest into a running system: through the gateway, straight to graph-builder, and `psql \copy` of as many rows into the
/// same table, one after the other in every round. Evaluation goes on beside it, as it does in life.
///
/// `UNDERCURRENT_CONNECTION` names the connection file of the system, `UNDERCURRENT_CALLER_SECRET` its caller-token secret;
/// scripts/bench.sh starts one.
enum IngestBenchmark {
    static let benchmark = BenchmarkCase(name: "ingest", run: Self.run)
    static let rounds = 5
    static let batches = 200
    static let rowsPerBatch = 1_000
    static let inFlight = 8
    static let nodes = 500

    static func run() throws -> [Measurement] {
        guard let system = try RunningSystem.ofEnvironment() else {
            print("ingest: NOT RUN, it needs a running system: use `make bench`")
            return []
        }
        print(
            "ingest: \(Self.rounds) rounds of \(Self.batches) x \(Self.rowsPerBatch) observations of \(Self.nodes) nodes, "
                + "\(Self.inFlight) requests in flight, NDJSON, float64, values seeded by their place")
        return try BlockingTask.run { try await Self.measure(system) }
    }

    private static func measure(_ system: RunningSystem) async throws -> [Measurement] {
        let clock = ContinuousClock()
        var rates: [RunningSystem.Way: [Double]] = [:]
        // Days of their own, so that nothing is known already; the first round warms up.
        var day = Int64.random(in: 3_000...10_000)
        for round in 0...Self.rounds {
            for way in RunningSystem.Way.allCases {
                day += 1
                let load = IngestLoad(day: day, batches: Self.batches, rows: Self.rowsPerBatch, nodes: Self.nodes)
                try await system.prepare(load, way)
                let start = clock.now
                try await system.send(load, way, inFlight: Self.inFlight)
                let seconds = (clock.now - start) / .seconds(1)
                let held = try system.count(load)
                guard held == load.count + 1 else {
                    throw WrongAnswer(description: "\(held) of \(load.count + 1) observations are there (\(way))")
                }
                try await system.settle()
                if round > 0 { rates[way, default: []].append(Double(load.count) / seconds) }
            }
        }
        let copy = Self.median(rates[.copy] ?? [])
        return [
            Self.measurement("durable ingest, TLS, gateway and key", rates[.gateway] ?? [], copy),
            Self.measurement("durable ingest, straight to graph-builder", rates[.direct] ?? [], copy),
        ]
    }

    private static func measurement(_ name: String, _ rates: [Double], _ peer: Double) -> Measurement {
        let sorted = rates.sorted()
        let median = Self.median(rates)
        return Measurement(
            name: name, value: median, unit: "observations/s", peer: "psql \\copy", peerValue: peer,
            ratio: median / peer, spread: ((sorted.last ?? 0) - (sorted.first ?? 0)) / max(1, median))
    }

    private static func median(_ values: [Double]) -> Double {
        values.isEmpty ? .nan : values.sorted()[values.count / 2]
    }
}

/// The observations of one run: all nodes in turn, a second apart.
struct IngestLoad: Sendable {
    let day: Int64
    let batches: Int
    let rows: Int
    let nodes: Int
    /// NDJSON, made before the clock starts.
    let bodies: [ByteBuffer]

    init(day: Int64, batches: Int, rows: Int, nodes: Int) {
        self.day = day
        self.batches = batches
        self.rows = rows
        self.nodes = nodes
        let startMs = day * 86_400_000 + 3_600_000
        self.bodies = (0..<batches).map { batch in
            var buffer = ByteBuffer()
            for index in batch * rows..<(batch + 1) * rows {
                buffer.writeString(Self.line(Self.observation(index, day: day, nodes: nodes, startMs: startMs)))
            }
            return buffer
        }
    }

    var count: Int { self.batches * self.rows }
    var event: String { "bench-\(self.day)" }
    private var startMs: Int64 { self.day * 86_400_000 + 3_600_000 }

    func observation(_ index: Int) -> Observation {
        Self.observation(index, day: self.day, nodes: self.nodes, startMs: self.startMs)
    }

    private static func observation(_ index: Int, day: Int64, nodes: Int, startMs: Int64) -> Observation {
        let (step, node) = index.quotientAndRemainder(dividingBy: nodes)
        var word = UInt64(index) &* 0x9E37_79B9_7F4A_7C15
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        return Observation(
            node: NodeKey(domain: "bench", event: "bench-\(day)", market: "m\(node / 10)", venue: "v\(node % 10)"),
            time: Timestamp(milliseconds: startMs + Int64(step) * 1_000), value: 100 + Double(word >> 40) / 65_536)
    }

    static func line(_ item: Observation) -> String {
        """
        {"domain":"\(item.node.domain)","event":"\(item.node.event)","market":"\(item.node.market)",\
        "venue":"\(item.node.venue)","time":\(item.time.milliseconds),"value":\(item.value)}

        """
    }

    /// One line of the file for `\copy`.
    func copyLine(_ index: Int) -> String {
        let item = self.observation(index)
        return "\(Shard(event: item.node.event).rawValue),\(item.node.id.rawValue),\(item.time.rfc3339),\(item.value)\n"
    }
}
