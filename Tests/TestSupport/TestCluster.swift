import Foundation
import Glibc

/// A PostgreSQL cluster in a temporary folder, reachable only by a Unix socket there; gone when the process ends.
///
/// The server refuses to run as root; then it runs as the user `postgres`, whom the Debian package makes.
public struct TestCluster: Sendable {
    public let folder: String
    public var socketFolder: String { self.folder }
    private let tools: Tools

    /// Where PostgreSQL's programs are, and how to call them.
    private struct Tools: Sendable {
        let folder: String
        /// Put before every call: changes the user when we are root.
        let prefix: [String]

        /// - Parameter namespace: name of a network namespace the programs run in; nil: ours.
        static func find(namespace: String? = nil) throws -> Tools {
            let tools = try Self.find()
            guard let namespace else { return tools }
            return Tools(folder: tools.folder, prefix: ["/usr/sbin/ip", "netns", "exec", namespace] + tools.prefix)
        }

        static func find() throws -> Tools {
            let base = "/usr/lib/postgresql"
            let versions = (try? FileManager.default.contentsOfDirectory(atPath: base)) ?? []
            let newest = versions.compactMap(Int.init).sorted().last {
                FileManager.default.isExecutableFile(atPath: "\(base)/\($0)/bin/initdb")
            }
            guard let newest else {
                throw TestServer.Failure(
                    description: "there is no PostgreSQL server under \(base): apt-get install postgresql")
            }
            guard geteuid() == 0 else { return Tools(folder: "\(base)/\(newest)/bin", prefix: []) }
            guard getpwnam("postgres") != nil else {
                throw TestServer.Failure(
                    description: "the user postgres is missing: apt-get install postgresql, or do not run as root")
            }
            return Tools(folder: "\(base)/\(newest)/bin", prefix: ["/usr/sbin/runuser", "-u", "postgres", "--"])
        }

        func run(_ program: String, _ arguments: [String]) throws {
            try ChildProgram.run(self.prefix + ["\(self.folder)/\(program)"] + arguments)
        }
    }

    /// Makes and starts a cluster; takes about two seconds. The server stops when this process exits, or within seconds after
    /// it was killed.
    ///
    /// - Parameters:
    ///   - options: more settings for the first start, `-c name=value` each.
    ///   - namespace: name of a network namespace the server runs in; its Unix socket is reachable from everywhere.
    ///   - network: block of addresses that may connect over TCP.
    ///   - environment: `NAME=value` of the server's first start.
    public static func start(
        options: [String] = [], namespace: String? = nil, network: String? = nil, environment: [String] = []
    ) throws -> TestCluster {
        let tools = try Tools.find(namespace: namespace)
        var template = Array("/tmp/undercurrent-test-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw TestServer.Failure(description: "mkdtemp: errno \(errno)")
        }
        let folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        if geteuid() == 0, let user = getpwnam("postgres") {
            chown(folder, user.pointee.pw_uid, user.pointee.pw_gid)
        }
        let cluster = TestCluster(folder: folder, tools: tools)
        try cluster.guardExit()
        try tools.run(
            "initdb", ["-D", cluster.dataFolder, "-U", "undercurrent", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"])
        if let network {
            let line = "echo 'host all all \(network) trust' >>'\(cluster.dataFolder)/pg_hba.conf'"
            try cluster.run(["/bin/sh", "-c", line])
        }
        try cluster.startServer(options: options, environment: environment)
        return cluster
    }

    public var dataFolder: String { self.folder + "/data" }

    /// What is committed outlives a crash of the server, not of the machine: these clusters never outlive a test.
    public func startServer(options more: [String] = [], environment: [String] = []) throws {
        let options =
            [
                "-c listen_addresses=''", "-c unix_socket_directories='\(self.folder)'", "-c fsync=off",
                "-c full_page_writes=off", "-c max_connections=200", "-c shared_buffers=64MB",
                "-c max_wal_size=1GB", "-c autovacuum=off", "-c logging_collector=off",
            ] + more
        let words = [
            "\(self.tools.folder)/pg_ctl", "-D", self.dataFolder, "-w", "-t", "60", "-l", "\(self.folder)/log", "-o",
            options.joined(separator: " "), "start",
        ]
        try self.run((environment.isEmpty ? [] : ["/usr/bin/env"] + environment) + words)
    }

    /// - Parameter immediately: as if it had crashed.
    public func stopServer(immediately: Bool = true) throws {
        try self.tools.run(
            "pg_ctl", ["-D", self.dataFolder, "-w", "-t", "60", "-m", immediately ? "immediate" : "fast", "stop"])
    }

    /// Process number of the running postmaster.
    public func postmaster() throws -> pid_t {
        let text = try String(contentsOfFile: "\(self.dataFolder)/postmaster.pid", encoding: .utf8)
        guard let process = text.split(separator: "\n").first.flatMap({ pid_t($0) }) else {
            throw TestServer.Failure(description: "postmaster.pid is not as expected")
        }
        return process
    }

    /// Writes a file into the cluster's folder, for its server alone.
    public func write(_ text: String, to name: String) throws {
        let path = "\(self.folder)/\(name)"
        try text.write(toFile: path, atomically: false, encoding: .utf8)
        try self.own(name)
    }

    /// Makes a file in the cluster's folder the server's own and nobody else's.
    public func own(_ name: String) throws {
        let path = "\(self.folder)/\(name)"
        chmod(path, 0o600)
        guard geteuid() == 0, let user = getpwnam("postgres") else { return }
        chown(path, user.pointee.pw_uid, user.pointee.pw_gid)
    }

    /// Runs a program as the user the server runs as.
    public func run(_ words: [String]) throws { try ChildProgram.run(self.tools.prefix + words) }

    /// Starts a program as the user the server runs as.
    public func spawn(_ words: [String], log: String) throws -> pid_t {
        try ChildProgram.spawn(self.tools.prefix + words, log: log)
    }

    public func remove() { try? FileManager.default.removeItem(atPath: self.folder) }

    /// A shell that waits for this process to end, however it ends, and then stops the server and removes the folder.
    private func guardExit() throws {
        let stop =
            (self.tools.prefix + ["\(self.tools.folder)/pg_ctl", "-D", self.dataFolder, "-m", "immediate", "stop"])
            .joined(separator: " ")
        _ = try ChildProgram.spawn([
            "/bin/sh", "-c",
            "while kill -0 \(getpid()) 2>/dev/null; do sleep 0.3; done; \(stop); rm -rf '\(self.folder)'",
        ])
    }
}
