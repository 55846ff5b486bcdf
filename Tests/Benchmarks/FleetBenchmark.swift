import Foundation
import Glibc
import Model
import Postgres
import TestSupport

/// A fresh graph-builder takes all shards of 10,000 nodes over: how long until every graph is published, and what the process
/// holds then. The real program on a private server, as after a clean stop of the owner before.
enum FleetBenchmark {
    static let benchmark = BenchmarkCase(name: "fleet", run: Self.run)
    static let takeOvers = 3
    static let takeOverLimit = Duration.seconds(120)

    static func run() throws -> [Measurement] {
        let program = Bundle.main.bundleURL.appending(path: "graph-builder").path
        guard FileManager.default.isExecutableFile(atPath: program) else {
            throw WrongAnswer(description: "\(program) is not there: swift build -c release --product graph-builder")
        }
        print(
            "fleet: \(Fleet.nodeCount) nodes in \(Fleet.events) events of one domain, \(Fleet.closedBuckets) closed minutes, "
                + "an observation each, seed \(Fleet.seed), Float64; private server on a Unix socket, no detector history"
        )
        return try BlockingTask.run {
            let cluster = try TestCluster.start(options: ["-c checkpoint_timeout=1h"])
            let url = "host=\(cluster.socketFolder) user=undercurrent dbname=postgres"
            let configuration = try PostgresConfiguration(connectionString: url)
            try await Migrator(logger: .silent).migrate(configuration)
            let connection = try await PostgresConnection.connect(configuration)
            let fleet = Fleet(connection: connection)
            try await fleet.store()
            var seconds: [Double] = []
            var memories: [ProcessMemory] = []
            for _ in 0..<Self.takeOvers {
                try await fleet.release()
                let replica = try FleetReplica(program, url: url, folder: cluster.folder)
                defer { replica.stop() }
                seconds.append(try await Self.takeOver(fleet, replica))
                // Freed memory goes back within some seconds.
                try await Task.sleep(for: .seconds(8))
                memories.append(try replica.memory())
            }
            await connection.close()
            return Self.measurements(seconds, memories)
        }
    }

    /// Seconds from the start of the program until it owns all shards and has published the graph of every event.
    private nonisolated(nonsending) static func takeOver(
        _ fleet: Fleet, _ replica: FleetReplica
    ) async throws -> Double {
        let clock = ContinuousClock()
        while clock.now - replica.startedAt < Self.takeOverLimit {
            try replica.checkRunning()
            let (shards, graphs) = try await fleet.standing()
            if shards == Shard.count, graphs == Fleet.events {
                return (clock.now - replica.startedAt).inMicroseconds / 1e6
            }
            try await Task.sleep(for: .milliseconds(20))
        }
        throw WrongAnswer(description: "not taken over within \(Self.takeOverLimit): \(replica.output.suffix(1_000))")
    }

    private static func measurements(_ seconds: [Double], _ memories: [ProcessMemory]) -> [Measurement] {
        let resident = memories.map(\.residentBytes)
        let perNode = resident.median / Double(Fleet.nodeCount)
        print(
            "  resident \(Int(resident.median / 1e6)) MB, of which files \(Int(memories.map(\.fileBytes).median / 1e6)) MB; "
                + "at most \(Int(memories.map(\.peakBytes).median / 1e6)) MB during the take-over; "
                + "\(Int(perNode)) bytes a node")
        func measurement(_ name: String, _ values: [Double], _ unit: String, goal: Double?) -> Measurement {
            Measurement(
                name: name, value: values.median, unit: unit, peer: goal == nil ? nil : "goal", peerValue: goal,
                ratio: goal.map { $0 / values.median },
                spread: ((values.max() ?? 0) - (values.min() ?? 0)) / values.median)
        }
        return [
            measurement(
                "graph-builder resident, 10,000 nodes x 840 buckets", resident.map { $0 / 1e6 }, "MB", goal: 150),
            measurement(
                "the same a node", resident.map { $0 / Double(Fleet.nodeCount) }, "bytes", goal: 15_000),
            measurement("its peak during the take-over", memories.map { $0.peakBytes / 1e6 }, "MB", goal: nil),
            measurement("take-over of all shards, 10,000 nodes", seconds, "s", goal: 5),
        ]
    }
}

/// What the kernel says of a process.
struct ProcessMemory {
    var residentBytes: Double
    var fileBytes: Double
    var peakBytes: Double

    init(process: pid_t) throws {
        let text = try String(contentsOfFile: "/proc/\(process)/status", encoding: .utf8)
        func bytes(_ name: String) throws -> Double {
            guard let line = text.split(separator: "\n").first(where: { $0.hasPrefix(name + ":") }),
                let kibibytes = line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap({ Double($0) })
            else { throw WrongAnswer(description: "/proc says nothing of \(name)") }
            return kibibytes * 1_024
        }
        self.residentBytes = try bytes("VmRSS")
        self.fileBytes = try bytes("RssFile")
        self.peakBytes = try bytes("VmHWM")
    }
}

/// One running graph-builder.
final class FleetReplica: Sendable {
    private let process: pid_t
    private let log: String
    let startedAt: ContinuousClock.Instant

    init(_ program: String, url: String, folder: String) throws {
        let secret = folder + "/caller-secret"
        try String(repeating: "0123456789abcdef", count: 4).write(toFile: secret, atomically: true, encoding: .utf8)
        chmod(secret, 0o600)
        self.log = folder + "/graph-builder.log"
        let settings = [
            "DATABASE_URL=\(url)", "HTTP_PORT=0", "METRICS_PORT=0", "CALLER_TOKEN_SECRET_FILE=\(secret)",
            "SHUTDOWN_DRAIN_SECONDS=0",
        ]
        let inherited = ["PATH", "HOME"].compactMap { name in
            ProcessInfo.processInfo.environment[name].map { "\(name)=\($0)" }
        }
        self.startedAt = .now
        self.process = try ChildProgram.spawn(
            ["/usr/bin/env", "-i"] + inherited + settings + [program, "serve"], log: self.log)
    }

    var output: String { (try? String(contentsOfFile: self.log, encoding: .utf8)) ?? "" }
    func memory() throws -> ProcessMemory { try ProcessMemory(process: self.process) }

    func checkRunning() throws {
        guard kill(self.process, 0) == 0 else {
            throw WrongAnswer(description: "graph-builder ended: \(self.output.suffix(1_000))")
        }
    }

    /// Without giving anything back, so that the next one's states are those of the first.
    func stop() {
        kill(self.process, SIGKILL)
        var status: CInt = 0
        while waitpid(self.process, &status, 0) < 0, errno == EINTR {}
    }
}
