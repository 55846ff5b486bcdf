import Foundation
import Glibc
import TestSupport

/// A network namespace for a database server, joined to ours by a pair of virtual cards; packets between them are dropped on
/// demand by the kernel. Gone when this process ends.
struct ServerNetwork: Sendable {
    /// The two addresses the server has, so that one client can be cut off and another not.
    let first: String
    let second: String
    let block: String
    let namespace: String
    private let card: String

    private static let tools = ["/usr/sbin/ip", "/usr/sbin/iptables"]

    /// Whether the kernel and the user allow it: tried by doing it.
    static let isPossible: Bool = {
        guard geteuid() == 0, Self.tools.allSatisfy({ FileManager.default.isExecutableFile(atPath: $0) }),
            let network = try? ServerNetwork()
        else { return false }
        defer { network.remove() }
        return (try? network.set([.lossy(0.05), .silent(network.second, toServer: true)])) != nil
    }()

    init() throws {
        let number = getpid() % 200 + 20
        let part = Int.random(in: 1...200)
        self.block = "10.\(number).\(part).0/24"
        self.first = "10.\(number).\(part).2"
        self.second = "10.\(number).\(part).3"
        self.namespace = "undercurrent-\(getpid())-\(part)"
        self.card = "ucd\(getpid() % 100_000)x\(part)"
        let (ip, inner) = ("/usr/sbin/ip", "uci\(getpid() % 100_000)x\(part)")
        try ChildProgram.run([ip, "netns", "add", self.namespace])
        _ = try ChildProgram.spawn([
            "/bin/sh", "-c",
            "while kill -0 \(getpid()) 2>/dev/null; do sleep 0.5; done; sleep 2; \(ip) netns del \(self.namespace)",
        ])
        try ChildProgram.run([ip, "link", "add", self.card, "type", "veth", "peer", "name", inner])
        try ChildProgram.run([ip, "link", "set", inner, "netns", self.namespace])
        try ChildProgram.run([ip, "addr", "add", "10.\(number).\(part).1/24", "dev", self.card])
        try ChildProgram.run([ip, "link", "set", self.card, "up"])
        for address in [self.first, self.second] {
            try self.inside([ip, "addr", "add", "\(address)/24", "dev", inner])
        }
        try self.inside([ip, "link", "set", inner, "up"])
        try self.inside([ip, "link", "set", "lo", "up"])
    }

    private func inside(_ words: [String]) throws {
        try ChildProgram.run(["/usr/sbin/ip", "netns", "exec", self.namespace] + words)
    }

    enum Trouble: Sendable, Hashable {
        /// Nothing passes between clients and this address of the server, in one direction.
        case silent(String, toServer: Bool)
        /// This share of all packets is lost, whichever way they go.
        case lossy(Double)

        fileprivate var rules: [[String]] {
            switch self {
            case .silent(let address, let toServer):
                toServer ? [["INPUT", "-d", address, "-j", "DROP"]] : [["OUTPUT", "-s", address, "-j", "DROP"]]
            case .lossy(let share):
                ["INPUT", "OUTPUT"].map {
                    [$0, "-m", "statistic", "--mode", "random", "--probability", "\(share)", "-j", "DROP"]
                }
            }
        }
    }

    /// These troubles from now on, and no others.
    func set(_ troubles: [Trouble]) throws {
        try self.inside(["/usr/sbin/iptables", "-F"])
        for rule in troubles.flatMap(\.rules) { try self.inside(["/usr/sbin/iptables", "-A"] + rule) }
    }

    func remove() { try? ChildProgram.run(["/usr/sbin/ip", "netns", "del", self.namespace]) }
}
