import Foundation
import Glibc
import TestSupport

extension TestCluster {
    /// Kills every process of the server at once, as a machine that runs out of memory does, and starts it again: it recovers
    /// from its log.
    func crash() async throws {
        let postmaster = try self.postmaster()
        // Frozen first, so that it neither starts nor restarts anything meanwhile.
        kill(postmaster, SIGSTOP)
        let children = Self.children(of: postmaster)
        for process in [postmaster] + children { kill(process, SIGKILL) }
        try await self.startAgain()
    }

    /// Stops every process of the server where it is, as a machine does whose disk hangs.
    func pause() throws {
        let postmaster = try self.postmaster()
        kill(postmaster, SIGSTOP)
        for process in Self.children(of: postmaster) { kill(process, SIGSTOP) }
    }

    func resume() throws {
        let postmaster = try self.postmaster()
        for process in Self.children(of: postmaster) + [postmaster] { kill(process, SIGCONT) }
    }

    /// The memory of the old server is free once its last process is gone, which takes a moment.
    func startAgain(options: [String] = []) async throws {
        for attempt in 1... {
            do {
                try self.startServer(options: options)
                return
            } catch {
                guard attempt < 50 else { throw error }
                try await Task.sleep(for: .milliseconds(100))
            }
        }
    }

    private static func children(of parent: pid_t) -> [pid_t] {
        let processes = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return processes.compactMap { pid_t($0) }.filter { process in
            // "number (name) state parent ...": the name may hold anything but is in parentheses.
            guard let stat = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8),
                let close = stat.lastIndex(of: ")")
            else { return false }
            let fields = stat[stat.index(after: close)...].split(separator: " ")
            return fields.count > 1 && pid_t(fields[1]) == parent
        }
    }
}
